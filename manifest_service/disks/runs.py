"""The map of a disk: runs of bytes in guest order, each saying where its bytes come from."""

from __future__ import annotations

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
    """The first `length` bytes of a cluster of `cluster_size` bytes, which lies compressed in the source.

    offset, size: where the compressed bytes lie. They are counted in sectors: other bytes may follow the stream, and
        the last of them may be past the source's end, where zeros stand for them.
    length: less than cluster_size only at the end of the disk. The whole cluster must inflate all the same.
    """

    offset: int
    size: int
    length: int
    method: CompressionMethod
    cluster_size: int


Run = Zeros | Stored | Compressed
