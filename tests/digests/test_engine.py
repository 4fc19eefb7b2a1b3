"""Computing a disk's digests: one pass, progress, and what happens when something fails on the way."""

import gc
import hashlib
import threading
import time
from collections.abc import Iterator

import pytest

from manifest_service.digests import algorithms, engine
from manifest_service.digests.engine import compute
from manifest_service.disks.buffers import Buffer
from manifest_service.disks.limits import MIB
from manifest_service.disks.opening import open_disk
from manifest_service.disks.runs import Run, Stored, Zeros
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, UsageError
from tests.digests.test_fanout import FailingDigest
from tests.disks.catalogue.case import PLAIN, PLAIN_DISK
from tests.disks.qcow2_writer import Packed
from tests.disks.sources import BytesSource, verdict
from tests.disks.test_reading import MappedDisk

IMAGE = PLAIN.write()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("digest-")]


@pytest.fixture
def source() -> BytesSource:
    return BytesSource(IMAGE)


def test_all_algorithms_in_one_pass(source: BytesSource) -> None:
    names = list(algorithms.flat())
    found = compute(open_disk(source, "qcow2"), source, names)
    assert found.virtual_size == len(PLAIN_DISK)
    assert found.warnings == ()
    assert list(found.digests) == names
    for name in set(names) - {"blake3"}:
        assert found.digests[name] == hashlib.new(name, PLAIN_DISK).hexdigest()


def test_a_block_map_beside_the_digests_in_the_same_pass(source: BytesSource) -> None:
    found = compute(open_disk(source, "qcow2"), source, ["sha256", "fsverity-sha256"], block_map_ranges=100)
    assert found.block_map is not None
    assert found.block_map.virtual_size == len(PLAIN_DISK)
    assert set(found.digests) == {"sha256", "fsverity-sha256"}
    for range_ in found.block_map.ranges():
        content = PLAIN_DISK[range_.first * 4096 : (range_.last + 1) * 4096]
        assert range_.sha256 == hashlib.sha256(content).hexdigest()


def test_a_block_map_that_grows_too_large_is_left_out_with_a_warning() -> None:
    disk = MappedDisk([Stored(0, 4096), Zeros(1 << 20)] * 3)
    found = compute(disk, BytesSource(b"x" * 4096), ["sha256"], block_map_ranges=2)
    assert found.block_map is None
    assert found.warnings == ("The block map was left out: it would have more than 2 ranges.",)


def test_an_empty_disk() -> None:
    source = BytesSource(b"")
    assert compute(open_disk(source, "raw"), source, ["md5"]).digests == {"md5": hashlib.md5().hexdigest()}


def test_long_zeros() -> None:
    disk = MappedDisk([Zeros(100 * MIB + 1), Stored(0, 3), Zeros(7)])
    expected = hashlib.sha256(bytes(100 * MIB + 1) + b"abc" + bytes(7)).hexdigest()
    assert compute(disk, BytesSource(b"abc"), ["sha256"]).digests["sha256"] == expected


@pytest.mark.parametrize(("names", "code"), [([], "no-algorithm"), (["sha256", "sha257"], "unknown-algorithm")])
def test_wrong_algorithms(source: BytesSource, names: list[str], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        compute(open_disk(source, "qcow2"), source, names)
    assert caught.value.code == code
    assert source.reads


def test_progress_is_reported_at_a_bounded_rate_and_at_the_end() -> None:
    reports: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        reports.append((done, total))

    runs: list[Run] = [Stored(0, 1000)] * 50_000
    started = time.monotonic()
    compute(MappedDisk(runs), BytesSource(bytes(1000)), ["md5"], progress=progress)
    elapsed = time.monotonic() - started
    assert reports[-1] == (50_000_000, 50_000_000)
    assert reports == sorted(reports)
    assert len(reports) <= 3 + elapsed / engine._PROGRESS_INTERVAL


@pytest.mark.parametrize("runs", [[Stored(0, 1000)] * 50_000, [Zeros(1 << 50)]], ids=["data", "zeros"])
def test_progress_cancels(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    class LostLeaseError(Exception):
        pass

    calls = []

    def progress(done: int, total: int) -> None:
        calls.append(threading.current_thread())
        if len(calls) == 2:
            raise LostLeaseError

    monkeypatch.setattr(engine, "_PROGRESS_INTERVAL", 0.01)
    with pytest.raises(LostLeaseError):
        compute(MappedDisk(runs), BytesSource(bytes(1000)), ["sha256", "md5"], progress=progress)
    assert set(calls) == {threading.current_thread()}


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_failing_hash_gives_no_digests(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "new_digest", lambda name: FailingDigest(pieces, MemoryError("no memory")))
    with pytest.raises(MemoryError):
        compute(MappedDisk([Stored(0, 1000)] * 50_000), BytesSource(bytes(1000)), ["sha256"])


def test_a_refusal_on_the_way_gives_no_digests() -> None:
    source = BytesSource(PLAIN.but(l1={0: 1 << 40}).write())
    with pytest.raises(ImageRefused):
        compute(open_disk(source, "qcow2"), source, ["sha256"])


def _buffers() -> int:
    return sum(isinstance(thing, Buffer) for thing in gc.get_objects())


def test_a_refusal_leaves_no_memory_behind() -> None:
    """An exception holds frames, frames hold buffers: in a circle, a hundred broken images would hold a GiB."""
    source = BytesSource(PLAIN.but(clusters={1: Packed(b"\x07" * 100)}).write() + bytes(4096))
    gc.collect()
    gc.disable()
    before = _buffers()  # of other tests, in exceptions that pytest keeps
    try:
        for _ in range(3):
            assert verdict(source) == "corrupt-data"  # pytest.raises would keep what was raised
        assert _buffers() <= before
    finally:
        gc.enable()


def test_a_source_that_fails_gives_no_digests() -> None:
    class FailingSource(BytesSource):
        def readinto(self, buffer: memoryview, offset: int) -> int:
            if offset > 20 * MIB:
                raise ComputationFailed(FailureCode.SOURCE_UNREADABLE, "input/output error", retriable=True)
            return super().readinto(buffer, offset)

    with pytest.raises(ComputationFailed, match="input/output"):
        compute(MappedDisk([Stored(0, 30 * MIB)]), FailingSource(bytes(30 * MIB)), ["sha256", "blake3"])


def test_a_map_that_does_not_cover_the_disk_gives_no_digests() -> None:
    class ShortDisk(MappedDisk):
        @property
        def virtual_size(self) -> int:
            return 1001

    with pytest.raises(RuntimeError, match="1001 bytes, but 1000"):
        compute(ShortDisk([Zeros(1000)]), BytesSource(b""), ["sha256"])


def test_results_do_not_change(source: BytesSource) -> None:
    found = compute(open_disk(source, "qcow2"), source, ["md5"])
    with pytest.raises(TypeError):
        found.digests["md5"] = ""  # type: ignore[index]
