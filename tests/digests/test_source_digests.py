"""Digests of the source beside those of the disk: each byte once, in order, however it is read."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, UsageError
from tests.disks.catalogue.case import CLUSTER, FIRST, PLAIN, PLAIN_DISK, SECOND
from tests.disks.qcow2_writer import Data, Image
from tests.disks.sources import BytesSource, sha256

CONTENT = bytes(range(251)) * 20


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("digest-")]


@settings(deadline=None)
@given(
    content=st.binary(max_size=300),
    reads=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 100)), max_size=20),
    buffer=st.integers(1, 64),
)
def test_any_reads_give_the_digests_of_the_whole(content: bytes, reads: list[tuple[int, int]], buffer: int) -> None:
    with HashedSource(BytesSource(content), ["sha256", "md5"]) as source:
        source._buffers.size = buffer
        assert source.size == len(content)
        for offset, length in reads:
            space = bytearray(length)
            count = source.readinto(memoryview(space), offset)
            assert space[:count] == content[offset : offset + length]
        digests = source.finish()
        assert source.finish() == digests
    assert digests == {"sha256": sha256(content), "md5": hashlib.md5(content).hexdigest()}


def test_bytes_read_in_order_are_read_once() -> None:
    inner = BytesSource(CONTENT)
    with HashedSource(inner, ["sha512"]) as source:
        for offset in range(0, len(CONTENT), 1000):
            source.readinto(memoryview(bytearray(1000)), offset)
        assert source.finish()["sha512"] == hashlib.sha512(CONTENT).hexdigest()
    assert sum(length for _, length in inner.reads) == len(CONTENT)


@pytest.mark.parametrize(
    "read", [lambda source: source.finish(), lambda source: source.readinto(memoryview(b""), 4000)]
)
def test_bytes_that_nobody_asked_for_can_be_stopped(read: Callable[[HashedSource], object]) -> None:
    """A refused image of 100 GiB, or one whose tables lie at its end: a worker that stops does not hash all of it."""

    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    inner = BytesSource(CONTENT)
    with HashedSource(inner, ["md5"], stop) as source, pytest.raises(StoppedError):
        read(source)
    assert not inner.reads
    assert not _threads()


def test_a_gap_is_read_before_what_follows_it() -> None:
    inner = BytesSource(CONTENT)
    with HashedSource(inner, ["md5"]) as source:
        source.readinto(memoryview(bytearray(10)), 500)
        assert inner.reads == [(0, 500), (500, 10)]
        source.readinto(memoryview(bytearray(20)), 495)
        assert source.finish()["md5"] == hashlib.md5(CONTENT).hexdigest()


def test_reads_after_the_end_of_hashing_are_plain() -> None:
    with HashedSource(BytesSource(CONTENT), ["md5"]) as source:
        source.finish()
        space = bytearray(5)
        assert source.readinto(memoryview(space), 3) == 5
        assert space == CONTENT[3:8]


def test_a_disk_is_computed_in_the_same_pass(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    path.write_bytes(PLAIN.write())
    with FileSource.open(path) as file, HashedSource(file, ["md5", "sha512"]) as source:
        found = compute(open_disk(source, "qcow2"), source, ["sha256"])
        digests = source.finish()
        file.verify_unchanged()
    assert found.digests == {"sha256": sha256(PLAIN_DISK)}
    assert digests["md5"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert not _threads()


def test_a_raw_disk_is_read_once_but_for_what_its_format_is_told_by() -> None:
    inner = BytesSource(CONTENT * 1000)
    with HashedSource(inner, ["md5"]) as source:
        compute(open_disk(source, "raw"), source, ["sha256"])
        source.finish()
    assert sum(length for _, length in inner.reads) < inner.size + 40_000


def test_a_disk_whose_data_is_backwards() -> None:
    image = Image({index: Data(FIRST if index % 2 else SECOND) for index in range(20)}, 20 * CLUSTER, 12)
    data = bytearray(image.write())
    table = memoryview(data)[image.l2_offset : image.l2_offset + 160]
    entries = [bytes(table[index * 8 : index * 8 + 8]) for index in range(20)]
    table[:] = b"".join(reversed(entries))
    with HashedSource(BytesSource(bytes(data)), ["sha1"]) as source:
        found = compute(open_disk(source, "qcow2"), source, ["sha256"])
        assert source.finish()["sha1"] == hashlib.sha1(data).hexdigest()
    assert found.digests["sha256"] == sha256((FIRST + SECOND) * 10)


def test_no_algorithms_are_no_digests() -> None:
    with HashedSource(BytesSource(CONTENT), []) as source:
        assert source.finish() == {}


def test_unknown_algorithm() -> None:
    with pytest.raises(UsageError, match="crc32"):
        HashedSource(BytesSource(b""), ["crc32"])


def test_a_source_that_ends_early_gives_no_digest() -> None:
    class ShortSource(BytesSource):
        @property
        def size(self) -> int:
            return 10_000

    with HashedSource(ShortSource(b"short"), ["md5"]) as source, pytest.raises(ComputationFailed):
        source.finish()
    assert not _threads()


def test_leaving_without_finishing_ends_threads() -> None:
    with HashedSource(BytesSource(CONTENT), ["md5"]) as source:
        source.readinto(memoryview(bytearray(10)), 0)
        assert _threads()
    assert not _threads()
