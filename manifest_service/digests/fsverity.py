"""The kernel's fs-verity file digest: what `fsverity digest` prints and FS_IOC_MEASURE_VERITY answers.

A Merkle tree of SHA-256 over blocks of 4096 bytes, without salt; a block of hashes holds 128 of them:

    level 0   hash of each data block, the last one padded with zeros
    level 1   hash of each block of 128 hashes of level 0, the last one padded with zeros
      ...     until one hash is left: the root

The file digest is the SHA-256 of a descriptor of 256 bytes with the root hash in it. Source: the kernel's
Documentation/filesystems/fsverity.rst, sections "Merkle tree" and "fs-verity descriptor".
"""

from __future__ import annotations

import struct
from hashlib import sha256

from manifest_service.digests.blocks import Blocks
from manifest_service.digests.hashes import BlockHash

BLOCK = 4096
_HASH = 32
_ZERO_BLOCK_HASH = sha256(bytes(BLOCK)).digest()

_DESCRIPTOR = struct.Struct("<BBBB4xQ64s32x144x")
_VERSION = 1
_SHA256 = 1
_LOG_BLOCK = 12


class FsVerityDigest:
    """The fs-verity digest (version 1, sha256, blocks of 4096 bytes, no salt) of a disk.

    Subtrees that cover nothing but zeros are known in advance, so that the work grows with the data.
    """

    def __init__(self) -> None:
        self._blocks = Blocks(BLOCK, self._add_data, self._add_zeros)
        self._hash = BlockHash(BLOCK)
        self._tree = _Level(_ZERO_BLOCK_HASH)
        self._length = 0

    def data(self, view: memoryview) -> None:
        self._length += len(view)
        self._blocks.data(view)

    def zeros(self, length: int) -> None:
        self._length += length
        self._blocks.zeros(length)

    def hexdigest(self) -> str:
        """Give the result. The digest takes in nothing more after that."""
        rest = self._blocks.rest()
        if rest:
            self._add_data(memoryview(bytes(rest).ljust(BLOCK, b"\0")))
        root = self._tree.root() if self._length else b""
        descriptor = _DESCRIPTOR.pack(_VERSION, _SHA256, _LOG_BLOCK, 0, self._length, root)
        return sha256(descriptor).hexdigest()

    def _add_data(self, view: memoryview) -> None:
        self._tree.add(self._hash.digests(view))

    def _add_zeros(self, count: int) -> None:
        self._tree.add_zero_subtrees(count)


class _Level:
    """One level of the tree: the hashes of the block that is being filled; full blocks are hashed into the next."""

    def __init__(self, zero_hash: bytes) -> None:
        """zero_hash: what the hash of a subtree of this height is if it covers zeros only."""
        self._zero_hash = zero_hash
        self._pending = bytearray()
        self._next: _Level | None = None

    def add(self, hashes: bytes) -> None:
        """Add any number of hashes, one after the other."""
        start = 0
        while start < len(hashes):
            end = start + BLOCK - len(self._pending)
            self._pending += hashes[start:end]
            start = end
            if len(self._pending) == BLOCK:
                self._complete()

    def add_zero_subtrees(self, count: int) -> None:
        while count and self._pending:
            self.add(self._zero_hash)
            count -= 1
        blocks, rest = divmod(count, BLOCK // _HASH)
        if blocks:
            self._above().add_zero_subtrees(blocks)
        self._pending += self._zero_hash * rest

    def root(self) -> bytes:
        """Pad and hash what is pending, level by level, until one hash is left."""
        if self._next is None and len(self._pending) == _HASH:
            return bytes(self._pending)
        if self._pending:
            self._pending += bytes(BLOCK - len(self._pending))
            self._complete()
        return self._above().root()

    def _complete(self) -> None:
        self._above().add(sha256(self._pending).digest())
        self._pending.clear()

    def _above(self) -> _Level:
        if self._next is None:
            self._next = _Level(sha256(self._zero_hash * (BLOCK // _HASH)).digest())
        return self._next
