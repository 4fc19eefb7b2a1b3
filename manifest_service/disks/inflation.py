"""Inflating the compressed clusters of a batch: in this process, or in a child process that shares its buffers.

Threads alone do not do: after each small cluster, a thread waits for the interpreter's lock. Measured with clusters of
4 KiB, two threads were slower than one; two processes take half the time (docs/performance.md).

A child reads requests on its standard input, one batch each, and answers on its standard output:

    request   header | places | sizes | paddings | positions      arrays of 32-bit words, an item a cluster
    answer    index of the broken cluster, or -1 | length of the sentence | sentence

The compressed bytes and the room for the clusters lie in shared memory. A child ends when its standard input does.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from manifest_service.disks.qcow2.compression import ClusterError, Decompressor
from manifest_service.disks.qcow2.deflate import inflater
from manifest_service.disks.qcow2.zstd import ZstdDecompressor
from manifest_service.disks.runs import CompressionMethod

HEADER = struct.Struct("=B7xQQQQQ")
"""Method, cluster size, offset and length of the input, offset of the output, number of clusters."""
ANSWER = struct.Struct("=iI")

_METHODS: tuple[CompressionMethod, ...] = ("zlib", "zstd")
_WORD = "I"


def decompressor(method: CompressionMethod, cluster_size: int, data: memoryview, output: memoryview) -> Decompressor:
    """Make a decompressor of clusters of so many bytes. data, output: contiguous, and writable."""
    make = inflater if method == "zlib" else ZstdDecompressor
    return make(cluster_size, data, output)


def _words() -> array[int]:
    return array(_WORD)


@dataclass(slots=True)
class ClusterBatch:
    """Compressed clusters of one image that are inflated together; an item of each array belongs to one cluster.

    places, sizes: where its compressed bytes lie in the input. paddings: how many of these, at the end, are not in the
    file. positions: where it goes in the output, which has room for it whole even where the disk ends inside of it.
    """

    method: CompressionMethod
    cluster_size: int
    places: array[int] = field(default_factory=_words)
    sizes: array[int] = field(default_factory=_words)
    paddings: array[int] = field(default_factory=_words)
    positions: array[int] = field(default_factory=_words)

    def inflate(self, data: memoryview, output: memoryview) -> None:
        """Inflate from `data` to their places in `output`. Raises BrokenCluster."""
        decompress = decompressor(self.method, self.cluster_size, data, output)
        for index, cluster in enumerate(zip(self.places, self.sizes, self.paddings, self.positions, strict=True)):
            try:
                decompress(*cluster)
            except ClusterError as error:
                raise BrokenCluster(index, str(error)) from error

    def to_request(self, data_offset: int, data_length: int, output_offset: int) -> bytes:
        """The request to a child, for input and output that lie at these offsets of the shared memory."""
        method = _METHODS.index(self.method)
        header = HEADER.pack(method, self.cluster_size, data_offset, data_length, output_offset, len(self.places))
        return header + b"".join(
            column.tobytes() for column in (self.places, self.sizes, self.paddings, self.positions)
        )

    @classmethod
    def from_request(cls, method: int, cluster_size: int, columns: Sequence[array[int]]) -> ClusterBatch:
        """Read a request's columns back."""
        return cls(_METHODS[method], cluster_size, *columns)


class BrokenCluster(Exception):
    """A compressed cluster that does not inflate: which one of its batch, and why."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason
