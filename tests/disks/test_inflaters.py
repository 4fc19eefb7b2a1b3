"""Batches that child processes inflate: the same results, and no process is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from manifest_service.disks.inflation import ClusterBatch
from manifest_service.disks.reading import Piece, read_disk
from manifest_service.disks.runs import Compressed, Run
from manifest_service.errors import ComputationFailed, ImageRefused, RefusalCode
from tests.disks.qcow2_writer import deflate
from tests.disks.sources import BytesSource
from tests.disks.test_reading import MappedDisk, read_all
from tests.waiting import eventually

pytestmark = pytest.mark.slow

CLUSTER = 65536
MANY = 400
"""Clusters that make more batches than are inflated without children."""


def _clusters(count: int, packed: bytes) -> list[Run]:
    return [Compressed([0], [len(packed)], CLUSTER, "zlib", CLUSTER)] * count


def _children() -> list[int]:
    """Process ids of the children of this process that inflate."""
    # Each thread lists the children that it started.
    lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return [int(child) for listed in lists for child in listed.split() if _inflates(child)]


def _inflates(child: str) -> bool:
    try:
        return b"inflating_child" in Path(f"/proc/{child}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def _read_until_children(pieces: list[Run], source: BytesSource) -> tuple[Generator[Piece, None, None], list[int]]:
    reading = read_disk(MappedDisk(pieces), source)
    for piece in reading:
        _release(piece)
        if _children():
            return reading, _children()
    raise AssertionError("no child process was ever started")


def _release(piece: Piece) -> None:
    if hasattr(piece, "release"):
        piece.release()


def test_closing_early_ends_the_children() -> None:
    packed = deflate(b"x" * CLUSTER)
    reading, children = _read_until_children(_clusters(100 * MANY, packed), BytesSource(packed))
    assert children
    reading.close()
    assert not _children()


def test_a_failure_among_the_tables_ends_the_children() -> None:
    packed = deflate(b"x" * CLUSTER)
    disk = MappedDisk(_clusters(MANY, packed), failure=RuntimeError("tables"))
    with pytest.raises(RuntimeError, match="tables"):
        read_all(disk, BytesSource(packed))
    assert not _children()


def test_children_give_what_this_process_gives() -> None:
    contents = [bytes([index % 251]) * CLUSTER for index in range(MANY)]
    stored, runs = bytearray(), list[Run]()
    for content in contents:
        packed = deflate(content)
        runs.append(Compressed([len(stored)], [len(packed)], CLUSTER, "zlib", CLUSTER))
        stored += packed
    assert read_all(MappedDisk(runs), BytesSource(bytes(stored))) == b"".join(contents)
    assert not _children()


def test_a_broken_cluster_is_named_by_a_child_too() -> None:
    good, bad = deflate(b"x" * CLUSTER), b"\x07" * 100
    runs = [*_clusters(MANY, good), Compressed([len(good)], [len(bad)], CLUSTER, "zlib", CLUSTER)]
    with pytest.raises(ImageRefused, match=f"at byte {len(good)} is broken: the deflate stream is invalid") as caught:
        read_all(MappedDisk(runs), BytesSource(good + bad))
    assert caught.value.code == RefusalCode.CORRUPT_DATA
    assert not _children()


@pytest.mark.timeout(60)
def test_a_child_that_is_killed_fails_the_attempt() -> None:
    packed = deflate(b"x" * CLUSTER)

    def run() -> None:
        for piece in read_disk(MappedDisk(_clusters(100 * MANY, packed)), BytesSource(packed)):
            _release(piece)
            for child in _children():
                os.kill(child, signal.SIGKILL)

    with pytest.raises(ComputationFailed, match="ended with exit code -9") as caught:
        run()
    assert caught.value.retriable
    assert not _children()


@pytest.mark.timeout(60)
def test_a_stop_that_is_sent_to_all_processes_leaves_the_children_to_their_parent() -> None:
    packed = deflate(b"x" * CLUSTER)
    stopped = done = 0
    for piece in read_disk(MappedDisk(_clusters(8 * MANY, packed)), BytesSource(packed)):
        done += piece.length
        _release(piece)
        # A child that has answered once has long decided what to do with signals.
        for child in _children() if done > MANY * CLUSTER and not stopped else []:
            os.kill(child, signal.SIGTERM)
            stopped += 1
    assert stopped
    assert done == 8 * MANY * CLUSTER


_PARENT = f"""
import sys
from manifest_service.disks.reading import read_disk
from tests.disks.test_inflaters import _clusters, _read_until_children
from tests.disks.sources import BytesSource
from tests.disks.qcow2_writer import deflate
packed = deflate(b"x" * {CLUSTER})
reading, children = _read_until_children(_clusters({100 * MANY}, packed), BytesSource(packed))
print(*children, flush=True)
sys.stdin.read()
"""


@pytest.mark.timeout(60)
def test_children_of_a_process_that_is_killed_end_by_themselves() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert children
    eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def test_a_batch_survives_the_way_to_a_child() -> None:
    batch = ClusterBatch("zstd", CLUSTER)
    for column in (batch.places, batch.sizes, batch.paddings, batch.positions):
        column.extend([1, 2, 3])
    columns = (batch.places, batch.sizes, batch.paddings, batch.positions)
    assert ClusterBatch.from_request(1, CLUSTER, columns) == batch
