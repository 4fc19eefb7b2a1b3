"""Benchmarks: `make bench` measures the service against its peers in one run, and writes docs/performance.md."""
