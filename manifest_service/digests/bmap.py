"""The block map: which blocks of a disk hold data, with a digest of each range, in bmaptool's format 2.0.

It says *where* a file differs, and lets a sparse file be verified by its data alone. Ranges hold the blocks of 4096
bytes that are not all zeros: the map depends on the disk's content only, not on how an image stores it. A range ends
at the latest at the next multiple of 4 MiB, so that a difference is narrowed down to that.

Format: the comments in bmaptool's own files, and its `BmapCreate` and `BmapCopy`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from manifest_service.digests.blocks import Blocks
from manifest_service.digests.hashes import new_hash

BLOCK = 4096
LONGEST_RANGE = 4 << 20
_ZEROS = bytes(BLOCK)
_HASH = 32
_NO_CHECKSUM = "0" * 64
_LARGEST_SIZE = 2**63 - 1

_HEAD = re.compile(r"<\?xml [^>]*>\s*<bmap version=\"2\.0\">\s*<ImageSize> (\d{1,19}) </ImageSize>")
_RANGE = re.compile(r'<Range chksum="([0-9a-f]{64})"> (\d{1,16})(?:-(\d{1,16}))? </Range>')


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks `first` to `last`, both included, and the SHA-256 of their bytes in hex: of those that there are, where
    the disk ends inside its last block.
    """

    first: int
    last: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BlockMap:
    """The ranges of a disk that hold data, in order.

    virtual_size: bytes. firsts, lasts: numbers of blocks. hashes: 32 bytes a range. A range takes 48 bytes of memory.
    """

    virtual_size: int
    firsts: array[int]
    lasts: array[int]
    hashes: bytes

    def __len__(self) -> int:
        return len(self.firsts)

    @classmethod
    def from_xml(cls, document: str) -> Self:
        """Read a map that `as_xml` wrote. Raises ValueError for anything else, another version's map among them.

        Whoever gave it is not trusted: the form is fixed, so that no XML parser has to see it.
        """
        head = _HEAD.match(document)
        if head is None:
            raise ValueError("the block map is not a bmap 2.0 document with SHA-256 and blocks of 4096 bytes")
        virtual_size, blocks = int(head[1]), -(-int(head[1]) // BLOCK)
        if virtual_size > _LARGEST_SIZE:
            raise ValueError(f"the block map is of {virtual_size} bytes, more than a file can have")
        firsts, lasts, hashes = array("Q"), array("Q"), bytearray()
        before = -1
        for found in _RANGE.finditer(document, head.end()):
            first = int(found[2])
            last = first if found[3] is None else int(found[3])
            if not before < first <= last < blocks or (last - first + 1) * BLOCK > LONGEST_RANGE:
                raise ValueError(f"the block map's range {first}-{last} is out of order or of its bounds")
            before = last
            firsts.append(first)
            lasts.append(last)
            hashes += bytes.fromhex(found[1])
        block_map = cls(virtual_size, firsts, lasts, bytes(hashes))
        if block_map.as_xml() != document:
            raise ValueError("the block map is damaged: it is not what its own checksum says")
        return block_map

    def ranges(self) -> Iterator[Range]:
        for index, (first, last) in enumerate(zip(self.firsts, self.lasts, strict=True)):
            yield Range(first, last, self.hashes[index * _HASH : (index + 1) * _HASH].hex())

    def mapped_blocks(self) -> int:
        return sum(self.lasts) - sum(self.firsts) + len(self)

    def as_xml(self) -> str:
        """The map as bmaptool reads it. Its BmapFileChecksum is of itself, with zeros where that checksum stands."""
        ranges = "".join(
            f'        <Range chksum="{range_.sha256}"> {_span(range_)} </Range>\n' for range_ in self.ranges()
        )
        checksum = sha256(self._document(_NO_CHECKSUM, ranges).encode()).hexdigest()
        return self._document(checksum, ranges)

    def _document(self, checksum: str, ranges: str) -> str:
        return (
            '<?xml version="1.0" ?>\n'
            '<bmap version="2.0">\n'
            f"    <ImageSize> {self.virtual_size} </ImageSize>\n"
            f"    <BlockSize> {BLOCK} </BlockSize>\n"
            f"    <BlocksCount> {-(-self.virtual_size // BLOCK)} </BlocksCount>\n"
            f"    <MappedBlocksCount> {self.mapped_blocks()} </MappedBlocksCount>\n"
            "    <ChecksumType> sha256 </ChecksumType>\n"
            f"    <BmapFileChecksum> {checksum} </BmapFileChecksum>\n"
            f"    <BlockMap>\n{ranges}    </BlockMap>\n"
            "</bmap>\n"
        )


def _span(range_: Range) -> str:
    return str(range_.first) if range_.first == range_.last else f"{range_.first}-{range_.last}"


class BlockMapper:
    """Maps a disk that is given from beginning to end, in pieces of any length."""

    def __init__(self, most_ranges: int) -> None:
        """most_ranges: a map that would need more is given up, since it would no longer be of bounded size."""
        self._most_ranges = most_ranges
        self._blocks = Blocks(BLOCK, self._add_data, self._add_zeros)
        self._length = 0
        self._block = 0
        self._first = 0
        self._hash = new_hash("sha256")
        self._firsts, self._lasts, self._hashes = array("Q"), array("Q"), bytearray()
        self._given_up = False

    def data(self, view: memoryview) -> None:
        self._length += len(view)
        if not self._given_up:
            self._blocks.data(view)

    def zeros(self, length: int) -> None:
        self._length += length
        if not self._given_up:
            self._blocks.zeros(length)

    def finish(self) -> BlockMap | None:
        """Give the map, or None if it was given up. The mapper takes in nothing more after that."""
        rest = self._blocks.rest()
        if any(rest):
            self._map(rest)
        self._end_range()
        if self._given_up:
            return None
        return BlockMap(self._length, self._firsts, self._lasts, bytes(self._hashes))

    def _add_zeros(self, count: int) -> None:
        self._end_range()
        self._block += count
        self._first = self._block

    def _add_data(self, view: memoryview) -> None:
        """Map what lies between blocks of zeros, as few and as long parts as can be."""
        data = bytes(view)  # Only bytes are compared at the speed of memory.
        start = 0
        for offset in range(0, len(data), BLOCK):
            if data.startswith(_ZEROS, offset):
                self._map(view[start:offset])
                self._add_zeros(1)
                start = offset + BLOCK
        self._map(view[start:])

    def _map(self, view: memoryview) -> None:
        """Add blocks with data, all whole but perhaps the last one of the disk."""
        start = 0
        while start < len(view):
            position = self._block * BLOCK
            length = min(len(view) - start, LONGEST_RANGE - position % LONGEST_RANGE)
            self._hash.update(view[start : start + length])
            self._block += -(-length // BLOCK)
            start += length
            if self._block * BLOCK % LONGEST_RANGE == 0:
                self._end_range()

    def _end_range(self) -> None:
        if self._block == self._first:
            return
        if len(self._firsts) >= self._most_ranges:
            self._given_up = True
            self._firsts, self._lasts, self._hashes = array("Q"), array("Q"), bytearray()
        else:
            self._firsts.append(self._first)
            self._lasts.append(self._block - 1)
            self._hashes += bytes.fromhex(self._hash.hexdigest())
        self._first = self._block
        self._hash = new_hash("sha256")
