"""Inflating the compressed clusters of a batch: all at once by native code, and one by one what that leaves.

`python -m manifest_service.disks.inflation` tells whether this installation has the native code.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from manifest_service.disks.qcow2.batches import batch_decompressor
from manifest_service.disks.qcow2.compression import ClusterError, Decompressor
from manifest_service.disks.qcow2.deflate import Inflater
from manifest_service.disks.qcow2.zstd import ZstdDecompressor
from manifest_service.disks.runs import CompressionMethod


def _words() -> array[int]:
    return array("I")


def _long_words() -> array[int]:
    return array("Q")


@dataclass(slots=True)
class ClusterBatch:
    """Compressed clusters of one image that are inflated together; an item of each array belongs to one cluster.

    places, sizes: where its compressed bytes lie, in 64 and 32 bits; the input begins at the place `start`. paddings:
    how many of these, at the end, are not in the file. positions: where it goes in the output, which has room for it
    whole even where the disk ends inside of it.
    """

    method: CompressionMethod
    cluster_size: int
    places: array[int] = field(default_factory=_long_words)
    sizes: array[int] = field(default_factory=_words)
    paddings: array[int] = field(default_factory=_words)
    positions: array[int] = field(default_factory=_words)
    start: int = 0

    def inflate(self, data: memoryview, output: memoryview) -> None:
        """Inflate from `data` to their places in `output`. Raises BrokenCluster."""
        at_once = batch_decompressor(self.method)
        columns = (self.places, self.sizes, self.paddings, self.positions)
        one: Decompressor | None = None
        index = 0
        while index < len(self.places):
            if at_once is not None:
                index = at_once(data, output, self.cluster_size, *columns, self.start, index)
                if index == len(self.places):
                    return
            # Native code never says that a cluster is broken: one way decides that, whether the other is there or not.
            one = one or decompressor(self.method, self.cluster_size, data, output)
            try:
                place, *others = (column[index] for column in columns)
                one(place - self.start, *others)
            except ClusterError as error:
                raise BrokenCluster(index, str(error)) from error
            index += 1


def decompressor(method: CompressionMethod, cluster_size: int, data: memoryview, output: memoryview) -> Decompressor:
    """Make a decompressor of single clusters of so many bytes."""
    make = Inflater if method == "zlib" else ZstdDecompressor
    return make(cluster_size, data, output)


class BrokenCluster(Exception):
    """A compressed cluster that does not inflate: which one of its batch, and why."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


def describe() -> str:
    """Which way clusters are inflated here, a line for each method."""
    methods: tuple[CompressionMethod, ...] = ("zlib", "zstd")
    return "\n".join(f"{method}: {'native' if batch_decompressor(method) else 'Python'}" for method in methods)


if __name__ == "__main__":
    print(describe())  # noqa: T201
