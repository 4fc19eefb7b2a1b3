"""fs-verity, blkhash and the block map, against the real tools and against plain definitions of them."""

import hashlib
import random
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.digests.algorithms import Consumer, new_digest
from manifest_service.digests.bmap import BLOCK, LONGEST_RANGE, BlockMap, BlockMapper
from tests.digests.pieces import Piece, content, feed

GIB = 1 << 30
SIZES = [0, 1, 4095, 4096, 4097, 65536, 128 * 4096, 128 * 4096 + 1, 1_000_000, 5 * (1 << 20) + 512]

# Runs of blocks, and odd lengths that shift what follows.
LENGTHS = st.one_of(st.integers(0, 70), st.sampled_from([4095, 4096, 4097, 65536, 40 * 4096, 130 * 4096, 5 << 20]))
NOISE = random.Random(1).randbytes(5 << 20)
KINDS: dict[str, Callable[[int], Piece]] = {
    "data": lambda length: NOISE[:length],
    "zeros among data": bytes,
    "zeros": int,
}
DISKS = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), LENGTHS), max_size=7).map(
    lambda pieces: [KINDS[kind](length) for kind, length in pieces]
)


def _digest(algorithm: str, disk: Sequence[Piece]) -> str:
    digest = new_digest(algorithm)
    feed(digest, disk)
    return digest.hexdigest()


def _map(disk: Sequence[Piece], most_ranges: int = 1 << 20) -> BlockMap:
    mapper = BlockMapper(most_ranges)
    feed(mapper, disk)
    block_map = mapper.finish()
    assert block_map is not None
    return block_map


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _plain_fsverity(data: bytes) -> str:
    """The definition, level by level, with nothing known in advance."""
    hashes = [hashlib.sha256(block.ljust(4096, b"\0")).digest() for block in _blocks(data, 4096)]
    while len(hashes) > 1:
        hashes = [hashlib.sha256(block.ljust(4096, b"\0")).digest() for block in _blocks(b"".join(hashes), 4096)]
    root = hashes[0] if hashes else b""
    descriptor = bytes([1, 1, 12, 0]) + bytes(4) + struct.pack("<Q", len(data)) + root.ljust(64, b"\0") + bytes(176)
    return hashlib.sha256(descriptor).hexdigest()


def _plain_blkhash(data: bytes) -> str:
    hashes = b"".join(hashlib.sha256(block).digest() for block in _blocks(data, 65536))
    return hashlib.sha256(hashes + struct.pack("<Q", len(data))).hexdigest()


def _plain_ranges(data: bytes) -> list[tuple[int, int, str]]:
    """Runs of blocks that are not all zeros, within each 4 MiB."""
    ranges: list[list[int]] = []
    for number, block in enumerate(_blocks(data, 4096)):
        if not any(block):
            continue
        if ranges and ranges[-1][1] == number - 1 and number % 1024:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [(first, last, hashlib.sha256(data[first * 4096 : (last + 1) * 4096]).hexdigest()) for first, last in ranges]


@given(DISKS)
def test_the_pieces_in_which_a_disk_comes_do_not_matter(disk: list[Piece]) -> None:
    data = content(disk)
    assert _digest("fsverity-sha256", disk) == _plain_fsverity(data)
    assert _digest("blkhash-sha256", disk) == _plain_blkhash(data)
    found = [(range_.first, range_.last, range_.sha256) for range_ in _map(disk).ranges()]
    assert found == _plain_ranges(data)


@pytest.mark.parametrize("size", SIZES)
def test_fsverity_is_what_the_real_tool_prints(size: int, tmp_path: Path, fsverity: str) -> None:
    chance = random.Random(size)
    disk: list[Piece] = [chance.randbytes(size // 3), size // 3, chance.randbytes(size - 2 * (size // 3))]
    file = tmp_path / "disk"
    file.write_bytes(content(disk))
    done = subprocess.run([fsverity, "digest", "--compact", file], capture_output=True, text=True, check=True)
    assert _digest("fsverity-sha256", disk) == done.stdout.strip()


@pytest.mark.parametrize("size", [pytest.param(GIB, marks=pytest.mark.slow), 128 * 4096, 129 * 128 * 4096 + 1])
def test_zeros_known_in_advance_give_what_the_real_tool_reads(size: int, tmp_path: Path, fsverity: str) -> None:
    file = tmp_path / "disk"
    with file.open("wb") as stream:
        stream.truncate(size)
    done = subprocess.run([fsverity, "digest", "--compact", file], capture_output=True, text=True, check=True)
    assert _digest("fsverity-sha256", [size]) == done.stdout.strip()


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        ([3_000_832], "fe5b7781c55087b14473199aa0d087542917230878c21ac417e326105afc8ef6"),
        (
            [(bytes(range(256)) * 4000)[:1_000_960]],
            "09ae4050f9740898ff011f75c19da16bb4133b368db63cf6260a8bad00c58b4a",
        ),
        (
            [b"A" * 65536, 65536, b"B" * 65536, b"C" * 512],
            "80d4407c3caecd697c869177c821e23c5b77c9b17e596f395e4bd01e6026467a",
        ),
    ],
)
def test_blkhash_is_what_blksum_printed(disk: list[Piece], expected: str) -> None:
    """blksum is in no package registry: these answers were taken from a build of it."""
    assert _digest("blkhash-sha256", disk) == expected


@pytest.mark.parametrize("algorithm", ["fsverity-sha256", "blkhash-sha256"])
@pytest.mark.slow
def test_zeros_cost_nothing_that_grows_with_them(algorithm: str) -> None:
    """A disk of 4 TiB with a little data would take hours if its zeros were hashed."""
    assert len(_digest(algorithm, [b"x" * 4096, 1 << 42, b"y" * 100])) == 64


def _sparse_disk() -> list[Piece]:
    chance = random.Random(7)
    return [
        chance.randbytes(5000),
        10 * (1 << 20),
        chance.randbytes(LONGEST_RANGE * 2 + 12345),
        bytes(3 * BLOCK),
        chance.randbytes(1),
        1 << 20,
        chance.randbytes(700),
    ]


def test_bmaptool_copies_by_the_map(tmp_path: Path, bmaptool: str) -> None:
    disk = _sparse_disk()
    image, bmap, copy = tmp_path / "disk", tmp_path / "disk.bmap", tmp_path / "copy"
    image.write_bytes(content(disk))
    bmap.write_text(_map(disk).as_xml())
    subprocess.run([bmaptool, "copy", "--bmap", bmap, image, copy], capture_output=True, check=True)
    assert copy.read_bytes() == image.read_bytes()


def test_bmaptool_finds_a_changed_byte_by_the_map(tmp_path: Path, bmaptool: str) -> None:
    disk = _sparse_disk()
    image, bmap = tmp_path / "disk", tmp_path / "disk.bmap"
    data = bytearray(content(disk))
    data[-1] ^= 1
    image.write_bytes(data)
    bmap.write_text(_map(disk).as_xml())
    done = subprocess.run(
        [bmaptool, "copy", "--bmap", bmap, image, tmp_path / "copy"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "checksum mismatch" in done.stderr


def test_bmaptool_makes_the_same_ranges_of_the_file(tmp_path: Path, bmaptool: str) -> None:
    """bmaptool goes by the file's holes and does not split at 4 MiB: compared where neither matters."""
    disk: list[Piece] = [bytes([1]) * 65536, 65536, bytes([2]) * 65536, 1 << 20]
    image = tmp_path / "disk"
    with image.open("wb") as stream:
        for piece in disk:
            if isinstance(piece, int):
                stream.seek(piece, 1)
            else:
                stream.write(piece)
        stream.truncate()
    done = subprocess.run([bmaptool, "create", image], capture_output=True, text=True, check=True)
    ours = _map(disk).as_xml()
    for line in ours.splitlines():
        if "Range" in line or "Count" in line or "ImageSize" in line:
            assert " ".join(line.split()) in " ".join(done.stdout.split())


def test_a_map_with_too_many_ranges_is_given_up() -> None:
    mapper = BlockMapper(most_ranges=3)
    for _ in range(4):
        _give(mapper, b"x" * BLOCK)
    assert mapper.finish() is None


def test_a_map_with_just_enough_ranges_is_kept() -> None:
    mapper = BlockMapper(most_ranges=4)
    for _ in range(4):
        _give(mapper, b"x" * BLOCK)
    block_map = mapper.finish()
    assert block_map is not None
    assert (len(block_map), block_map.mapped_blocks()) == (4, 4)


def _give(consumer: Consumer, data: bytes) -> None:
    consumer.data(memoryview(data))
    consumer.zeros(BLOCK)
