"""The map of a disk: runs of bytes in guest order, each saying where its bytes come from."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Literal

CompressionMethod = Literal["zlib", "zstd"]


@dataclass(frozen=True, slots=True)
class Zeros:
    """`length` bytes that the guest reads as zeros, and that need not be read."""

    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """`length` bytes that lie in the source at byte `offset`, all of them before its end."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Compressed:
    """The first `length` bytes of neighbouring clusters of `cluster_size` bytes, each compressed in the source.

    offsets, sizes: where the compressed bytes of each cluster lie, in 64 and 32 bits. They are counted in sectors:
        other bytes may follow the stream, and the last may be past the source's end, where zeros stand for them.
    length: less than that of all clusters only at the end of the disk: the last one inflates whole all the same.
    """

    offsets: array[int]
    sizes: array[int]
    length: int
    method: CompressionMethod
    cluster_size: int


Run = Zeros | Stored | Compressed
