"""Where a file differs from the disk that it should be: the block map says what each range should hash to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from manifest_service.digests.bmap import BLOCK, BlockMap
from manifest_service.disks.limits import MIB
from manifest_service.disks.source import Source

_AT_ONCE = 1 * MIB
_ZEROS = bytes(BLOCK)

MOST_RANGES = 1000
"""Ranges that a verdict names; of more, the first ones."""


@dataclass(frozen=True)
class Differences:
    """ranges: (offset, length) in bytes, in order, neighbours joined; the first ones if there are many. count, length:
    of all of them.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    count: int = 0
    length: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


def find_differences(block_map: BlockMap, source: Source, tick: Callable[[int], None]) -> Differences:
    """Compare a file with a block map. Holes are not read, where they should be.

    source: may have more or fewer bytes than the disk; all that is there beyond the disk and is not zero, and all of
    the disk that is not there, differs. tick: called with the bytes that are done, now and then.
    """
    return _collect(_joined(_differing(block_map, source, tick)))


def find_data(source: Source, start: int, end: int, tick: Callable[[int], None]) -> Differences:
    """Find what is not zero in part of a file, in blocks of 4096 bytes."""
    return _collect(_joined(_data(source, start, end, tick)))


def _differing(block_map: BlockMap, source: Source, tick: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    position = 0
    present = min(source.size, block_map.virtual_size)
    for each in block_map.ranges():
        start, end = each.first * BLOCK, min((each.last + 1) * BLOCK, block_map.virtual_size)
        yield from _data(source, position, min(start, present), tick)
        position = min(end, present)
        if start >= present:
            break
        if end > present or _hash(source, start, end) != each.sha256:
            yield start, end - start
        tick(position)
    if present < block_map.virtual_size:
        yield present, block_map.virtual_size - present
    else:
        yield from _data(source, position, source.size, tick)


def _hash(source: Source, start: int, end: int) -> str:
    """SHA-256 of part of a file, in hex. A range has a few MiB at most."""
    digest = sha256()
    buffer = memoryview(bytearray(min(_AT_ONCE, end - start)))
    while start < end:
        count = source.readinto(buffer[: end - start], start)
        digest.update(buffer[:count])
        start += count
    return digest.hexdigest()


def _data(source: Source, start: int, end: int, tick: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Blocks in part of a file that are not all zeros."""
    while start < end:
        data = source.next_data(start)
        if data.start >= end or not data:
            return
        start = data.start
        while start < min(data.stop, end):
            length = min(_AT_ONCE, data.stop - start, end - start)
            content = bytearray(length)
            source.readinto(memoryview(content), start)
            yield from _blocks_with_data(bytes(content), start)
            start += length
            tick(start)


def _blocks_with_data(content: bytes, start: int) -> Iterator[tuple[int, int]]:
    if content.count(0) == len(content):
        return
    for offset in range(0, len(content), BLOCK):
        if not content.startswith(_ZEROS[: len(content) - offset], offset):
            yield start + offset, min(BLOCK, len(content) - offset)


def _joined(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join ranges that touch or overlap; they come in the order of their offsets."""
    start = end = -1
    for offset, length in ranges:
        if offset > end:
            if end > start:
                yield start, end - start
            start, end = offset, offset
        end = max(end, offset + length)
    if end > start:
        yield start, end - start


def _collect(ranges: Iterator[tuple[int, int]]) -> Differences:
    first: list[tuple[int, int]] = []
    count = total = 0
    for offset, length in ranges:
        if count < MOST_RANGES:
            first.append((offset, length))
        count += 1
        total += length
    return Differences(tuple(first), count, total)
