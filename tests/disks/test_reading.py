"""From runs to data: everything once, in guest order, in bounded memory."""

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import pytest

from manifest_service.disks.buffers import Buffer
from manifest_service.disks.limits import MIB
from manifest_service.disks.reading import Unfinished, read_disk
from manifest_service.disks.runs import Compressed, Run, Stored, Zeros
from manifest_service.errors import ComputationFailed, ImageRefused, RefusalCode
from tests.commands.peak_memory import peak_of
from tests.disks.qcow2_writer import Image, Packed, deflate
from tests.disks.sources import BytesSource


@dataclass
class MappedDisk:
    """A disk of any runs."""

    mapped: list[Run]
    disk_format: str = "qcow2"
    warnings: tuple[str, ...] = ()
    failure: Exception | None = field(default=None)

    @property
    def virtual_size(self) -> int:
        return sum(run.length for run in self.mapped)

    def runs(self) -> Iterator[Run]:
        yield from self.mapped
        if self.failure:
            raise self.failure


def compressed(offset: int, size: int, length: int, cluster_size: int) -> Compressed:
    """A run of one cluster in zlib."""
    return Compressed(array("Q", [offset]), array("I", [size]), length, "zlib", cluster_size)


def read_all(disk: MappedDisk, source: BytesSource) -> bytes:
    content = bytearray()
    for found in read_disk(disk, source):
        piece = found.finish() if isinstance(found, Unfinished) else found
        if isinstance(piece, Buffer):
            content += piece.view
            piece.release()
        else:
            content += bytes(piece.length)
    return bytes(content)


@pytest.mark.parametrize("seed", range(30))
def test_runs_of_all_kinds_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    stored = bytearray()
    runs: list[Run] = []
    expected = bytearray()
    cluster_size = rng.choice([512, 4096, 65536])
    for _ in range(rng.randint(0, 200)):
        kind = rng.randrange(3)
        content = rng.randbytes(100) * (cluster_size // 100 + 1)
        if kind == 0:
            run: Run = Zeros(rng.choice([512, 4096, 32768, 3 * MIB]))
            content = b""
        elif kind == 1:
            run = Stored(len(stored), rng.randint(1, cluster_size))
            stored += content[:cluster_size]
        else:
            packed = deflate(content[:cluster_size])
            length = cluster_size - rng.choice([0, 0, 0, 1])
            run = compressed(len(stored), len(packed), length, cluster_size)
            stored += packed
        runs.append(run)
        expected += content[: run.length] or bytes(run.length)
    assert read_all(MappedDisk(runs), BytesSource(bytes(stored))) == expected


def test_long_zeros_stay_zeros_and_short_ones_are_filled_in() -> None:
    disk = MappedDisk([Stored(0, 512), Zeros(512), Stored(0, 512), Zeros(1 << 50), Stored(0, 1)])
    lengths = [(type(piece), piece.length) for piece in read_disk(disk, BytesSource(b"x" * 512))]
    assert lengths == [(Buffer, 1536), (Zeros, 1 << 50), (Buffer, 1)]


def test_reads_are_large() -> None:
    source = BytesSource(bytes(10 * MIB))
    assert len(read_all(MappedDisk([Stored(0, 10 * MIB)]), source)) == 10 * MIB
    lengths = [length for _, length in source.reads]
    assert [offset for offset, _ in source.reads] == [0, *accumulate(lengths[:-1])]
    assert min(lengths[:-1]) >= MIB


def test_compressed_neighbours_are_read_at_once_whatever_their_order() -> None:
    packed = deflate(bytes(4096))
    source = BytesSource(packed * 8)
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    runs: list[Run] = [compressed(index * len(packed), len(packed), 4096, 4096) for index in order]
    assert read_all(MappedDisk(runs), source) == bytes(8 * 4096)
    assert source.reads == [(0, len(packed) * 8)]


def test_a_broken_cluster_is_named() -> None:
    good, bad = deflate(b"x" * 65536), b"\x07" * 100
    runs: list[Run] = [compressed(0, len(good), 65536, 65536)] * 100
    runs[70] = compressed(len(good), len(bad), 65536, 65536)
    with pytest.raises(ImageRefused, match=f"at byte {len(good)} is broken") as caught:
        read_all(MappedDisk(runs), BytesSource(good + bad + b"more"))
    assert caught.value.code == RefusalCode.CORRUPT_DATA


def test_bytes_that_are_missing_are_not_padded() -> None:
    with pytest.raises(ComputationFailed, match="could be read"):
        read_all(MappedDisk([Stored(0, 1000)]), BytesSource(bytes(999)))


@pytest.mark.slow
def test_memory_stays_bounded_with_the_largest_clusters(tmp_path: Path) -> None:
    """Compressed clusters of 2 MiB that claim twice as much each, and hardly compress: as many bytes as can be."""
    cluster = random.Random(1).randbytes(2 * MIB - 2000) + bytes(2000)
    packed = Packed(deflate(cluster), further_sectors=4000)
    image = Image(dict.fromkeys(range(60), packed), 60 * 2 * MIB, 21)
    path = tmp_path / "image.qcow2"
    path.write_bytes(image.but(tail=bytes(2 * MIB)).write())
    assert 20 * MIB < peak_of("digest", "-a", "sha256", "-a", "md5", path) < 150 * MIB
