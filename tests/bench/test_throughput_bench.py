"""The flow's benchmarks, so small that they show nothing but that they run and what they count."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifest_service.manifests.values import LARGE_SIZE
from tests import qemu
from tests.bench.throughput_backlog import measure_backlog
from tests.bench.throughput_latency import measure_latency
from tests.bench.throughput_notifications import measure_notifications


@pytest.mark.servers
def test_notifications_make_a_section() -> None:
    section = measure_notifications(rounds=1, messages=200)

    assert "| notifications/s |" in section
    assert "notifications a second durable (target: 500)" in section


@pytest.mark.servers
def test_latency_makes_a_section(tmp_path: Path) -> None:
    large = tmp_path / "large.qcow2"
    qemu.create(large, 64 << 20)
    qemu.io(large, ["write -P 7 5M 1M"])

    section = measure_latency(rounds=1, large=large, small_samples=2)

    assert "| 1 MiB, raw |" in section
    assert section.count("after all its hashing alone would be (target: 1)") == 2


@pytest.mark.servers
@pytest.mark.slow
def test_a_backlog_makes_a_section() -> None:
    section = measure_backlog(images=20, workers=(2,), large_size=LARGE_SIZE)

    assert "| workers | images/s |" in section
    assert "- 2 workers begin the first small image" in section
