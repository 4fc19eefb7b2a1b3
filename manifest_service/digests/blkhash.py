"""oVirt's blkhash, as `blksum` prints it by default: a hash of the hashes of blocks, cheap where there are zeros.

    outer = SHA-256( SHA-256(block 0) ‖ SHA-256(block 1) ‖ … ‖ total length as 64 bits, little-endian )

Blocks are 64 KiB; the last one may be shorter, and is not padded.
"""

from __future__ import annotations

import struct
from hashlib import sha256

from manifest_service.digests.blocks import Blocks
from manifest_service.digests.hashes import BlockHash

_BLOCK = 64 << 10
_ZERO_BLOCK_HASH = sha256(bytes(_BLOCK)).digest()
_REPEATED = 4096


class BlkhashDigest:
    """The blkhash (sha256, blocks of 64 KiB) of a disk; for zeros only the outer hash does anything."""

    def __init__(self) -> None:
        self._blocks = Blocks(_BLOCK, self._add_data, self._add_zeros)
        self._hash = BlockHash(_BLOCK)
        self._outer = sha256()
        self._length = 0

    def data(self, view: memoryview) -> None:
        self._length += len(view)
        self._blocks.data(view)

    def zeros(self, length: int) -> None:
        self._length += length
        self._blocks.zeros(length)

    def hexdigest(self) -> str:
        """Give the result; more may be taken in afterwards."""
        outer = self._outer.copy()
        rest = self._blocks.rest()
        if rest:
            outer.update(sha256(rest).digest())
        outer.update(struct.pack("<Q", self._length))
        return outer.hexdigest()

    def _add_data(self, view: memoryview) -> None:
        self._outer.update(self._hash.digests(view))

    def _add_zeros(self, count: int) -> None:
        for start in range(0, count, _REPEATED):
            self._outer.update(_ZERO_BLOCK_HASH * min(_REPEATED, count - start))
