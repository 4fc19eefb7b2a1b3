"""How much CPU time inflating an image's clusters takes by itself, in the order of the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifest_service.disks.inflation import ClusterBatch
from manifest_service.disks.opening import open_disk
from manifest_service.disks.runs import Compressed
from manifest_service.disks.source import FileSource, Source, read_padded


@dataclass(frozen=True)
class Stretch:
    """A stretch of the disk: its bytes, and the seconds of CPU time that inflating it takes on one thread."""

    length: int
    inflating: float


def inflate_alone(path: Path) -> list[Stretch]:
    """Inflate all compressed clusters of an image, timing nothing but the inflate library."""
    with FileSource.open(path) as source:
        return list(_stretches(source))


def _stretches(source: Source) -> Iterator[Stretch]:
    for run in open_disk(source, "qcow2").runs():
        if not isinstance(run, Compressed):
            yield Stretch(run.length, 0.0)
            continue
        data = bytearray()
        batch = ClusterBatch(run.method, run.cluster_size)
        for offset, size in zip(run.offsets, run.sizes, strict=True):
            batch.places.append(len(data))
            batch.sizes.append(size)
            data += read_padded(source, offset, size)
        # All to the same place: to fill memory is not counted.
        batch.paddings.extend([0] * len(run.offsets))
        batch.positions.extend([0] * len(run.offsets))
        output = memoryview(bytearray(run.cluster_size))
        start = time.thread_time()
        batch.inflate(memoryview(data), output)
        yield Stretch(run.length, time.thread_time() - start)


def fastest_possible(stretches: Sequence[Stretch], hashing: float, cores: int) -> float:
    """Seconds that no program can be faster than, which hashes in order what it has inflated.

    hashing: seconds for the whole disk. Up to any point of the disk, inflating and hashing can share all cores at best;
    from there on, what is left is hashed on one core: zeros at the end of a disk leave the other cores idle.
    """
    left = sum(stretch.length for stretch in stretches)
    speed = hashing / left if left else 0.0
    longest = hashing
    inflating = hashed = 0.0
    for stretch in stretches:
        inflating += stretch.inflating
        hashed += stretch.length * speed
        left -= stretch.length
        longest = max(longest, (inflating + hashed) / cores + left * speed)
    return longest
