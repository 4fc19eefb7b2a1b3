"""Formats that qemu-img reads for us: checked by our own eyes first, then converted in a bounded child process."""
