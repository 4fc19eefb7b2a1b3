"""Writing a disk to a raw file: every byte, and holes where there are zeros."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.digests.engine import compute
from manifest_service.disks.limits import MIB
from manifest_service.disks.raw_file import BLOCK, SparseFileWriter
from manifest_service.disks.runs import Stored, Zeros
from manifest_service.errors import OutputFailed
from tests.digests.pieces import Piece, content, feed
from tests.disks.sources import BytesSource
from tests.disks.test_reading import MappedDisk

PIECES = st.lists(
    st.one_of(
        st.integers(0, 3 * BLOCK),
        st.binary(max_size=64),
        st.tuples(st.integers(0, 3 * BLOCK), st.binary(max_size=3), st.integers(0, 3 * BLOCK)).map(
            lambda parts: bytes(parts[0]) + parts[1] + bytes(parts[2])
        ),
    ),
    max_size=8,
)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "raw", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def allocated(descriptor: int) -> int:
    os.fsync(descriptor)
    return os.fstat(descriptor).st_blocks * 512


@given(PIECES)
def test_all_bytes_are_written_however_they_come(pieces: list[Piece]) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"something else was here before" * 1000)
        file.flush()
        writer = SparseFileWriter(file.fileno())
        feed(writer, pieces)
        writer.finish()

        file.seek(0)
        assert file.read() == content(pieces)


def test_zeros_take_no_room_whether_they_were_read_or_not(descriptor: int) -> None:
    writer = SparseFileWriter(descriptor)
    feed(writer, [1 << 40, b"x" + bytes(4 * MIB) + b"y", 512, bytes(4 * MIB), 1 << 30])
    writer.finish()

    assert os.fstat(descriptor).st_size == (1 << 40) + 2 + 8 * MIB + 512 + (1 << 30)
    assert 0 < allocated(descriptor) < 1 * MIB


def test_each_block_of_zeros_is_a_hole_wherever_the_pieces_begin(descriptor: int) -> None:
    writer = SparseFileWriter(descriptor)
    feed(writer, [b"x" * 100, b"y" * (BLOCK - 100) + bytes(BLOCK) + b"z" * 10])
    writer.finish()

    assert os.lseek(descriptor, 0, os.SEEK_HOLE) == BLOCK
    assert os.lseek(descriptor, BLOCK, os.SEEK_DATA) == 2 * BLOCK


def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"")
    descriptor = os.open(tmp_path / "raw", os.O_RDONLY)
    try:
        with pytest.raises(OutputFailed, match="the output cannot be written: "):
            SparseFileWriter(descriptor)
    finally:
        os.close(descriptor)


def test_the_digests_of_what_is_written_in_one_read_of_the_source(descriptor: int) -> None:
    data = os.urandom(3 * MIB)
    disk = MappedDisk([Stored(0, MIB), Zeros(50 * MIB), Stored(MIB, 2 * MIB), Zeros(512)])
    source = BytesSource(data)
    writer = SparseFileWriter(descriptor)

    found = compute(disk, source, ["sha256"], block_map_ranges=10, consumers={"raw file": writer})
    writer.finish()

    with open(descriptor, "rb", closefd=False) as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == found.digests["sha256"]
    assert found.block_map is not None
    assert found.block_map.virtual_size == os.fstat(descriptor).st_size == disk.virtual_size
    assert sum(length for _, length in source.reads) == len(data)


def test_a_file_that_fails_on_the_way_ends_the_computation() -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    with tempfile.TemporaryFile() as file:
        writer = SparseFileWriter(file.fileno())
        os.dup2(descriptor, file.fileno())
        os.close(descriptor)
        with pytest.raises(OutputFailed):
            compute(MappedDisk([Stored(0, 1000)] * 5000), BytesSource(b"x" * 1000), ["md5"], consumers={"f": writer})


@pytest.mark.parametrize("name", ["sha256", "bmap"])
def test_no_consumer_takes_another_one_s_place(descriptor: int, name: str) -> None:
    writer = SparseFileWriter(descriptor)

    with pytest.raises(ValueError, match="the same name"):
        compute(MappedDisk([Zeros(1)]), BytesSource(b""), ["sha256"], block_map_ranges=1, consumers={name: writer})
