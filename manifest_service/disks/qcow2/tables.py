"""From L1 and L2 tables to the runs of the disk.

A guest offset of the disk splits into three parts (for the default cluster of 64 KiB: 13 and 16 bits):

    +-----------------------+--------------------+-------------------------+
    | index in the L1 table | index in L2 table  | offset in the cluster   |
    +-----------------------+--------------------+-------------------------+
                             log2(entries)        cluster_bits

L1 entry, and L2 entry of a cluster that is not compressed (specification: section "Cluster mapping"):

     63    62    61      56 55                        9 8       1   0
    +-----+-----+----------+---------------------------+---------+------+
    |COPY |COMPR| reserved | offset in the file        | reserved| ZERO |
    +-----+-----+----------+---------------------------+---------+------+

The L1 entry's 62 and 0 are reserved. qemu ignores COPY and all reserved bits. An offset of 0 means: not there. In an
extended L2 entry, bit 0 is reserved, too, and a second word follows: for each of 32 subclusters, from low to high, one
bit says "reads as zeros" (63-32) and one says "is in the file" (31-0).

Entries of compressed clusters are told apart by COMPR, and read in descriptors.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NoReturn

from manifest_service.disks.qcow2.descriptors import COMPRESSED, read_descriptors
from manifest_service.disks.qcow2.header import Header
from manifest_service.disks.qcow2.oddities import Oddities
from manifest_service.disks.qcow2.words import read_words, to_words
from manifest_service.disks.runs import Compressed, Run, Stored, Zeros
from manifest_service.disks.source import Source, read_padded
from manifest_service.errors import ImageRefused, RefusalCode

_OFFSET = 0x00FFFFFFFFFFFE00
_ZERO = 1 << 0

_SUBCLUSTERS = 32
_ALL_SUBCLUSTERS = (1 << _SUBCLUSTERS) - 1

_L1_PART = 4096
"""Entries of the L1 table that are read at a time: a table may have 32 MiB."""

_LONGEST_RUN = 1 << 30
"""Bytes after which a run is given out though it could grow, so that whoever asks for runs is not kept waiting while
thousands of tables are read that hold nothing."""

_Piece = tuple[int, int] | Compressed
"""What L2 entries say: (offset in the file or 0 for zeros, length), or neighbouring compressed clusters."""


def map_disk(source: Source, header: Header, oddities: Oddities) -> Iterator[Run]:
    """Map the disk: runs in guest order that cover [0, virtual_size) exactly.

    oddities: takes note of what is odd on the way.
    Memory: one L2 table (a cluster) and a part of the L1 table. Entries beyond the virtual size are not looked at.
    """
    pieces = _pieces(source, header, oddities)
    return _clip(_join(pieces, source, header, oddities), header.virtual_size)


def _pieces(source: Source, header: Header, oddities: Oddities) -> Iterator[_Piece]:
    """Give the pieces of all L2 tables that the disk needs, one table after the other."""
    read_table = _extended_table if header.extended_l2 else _standard_table
    clusters = -(-header.virtual_size // header.cluster_size)
    nothing = bytes(header.cluster_size)
    for table_offset in _l2_offsets(source, header, oddities, -(-clusters // header.l2_entries)):
        count = min(clusters, header.l2_entries)
        clusters -= count
        if table_offset == 0:
            yield 0, count * header.cluster_size
            continue
        if table_offset >= source.size:
            _refuse_truncated("an L2 table", table_offset, source)
        table = read_padded(source, table_offset, header.cluster_size)
        if table == nothing:
            yield 0, count * header.cluster_size
        else:
            words = to_words(table)
            yield from read_table(words[: count * header.l2_entry_size // 8], source, header, oddities)


def _l2_offsets(source: Source, header: Header, oddities: Oddities, count: int) -> Iterator[int]:
    """Give the offsets of the first `count` L2 tables; 0 where there is none."""
    for first in range(0, count, _L1_PART):
        part = min(_L1_PART, count - first)
        _check_l1_part(source, header, first + part)
        entries = read_words(source, header.l1_offset + first * 8, part)
        oddities.note_l1(entries)
        for entry in entries:
            offset = entry & _OFFSET
            if offset % header.cluster_size:
                _refuse_unaligned("L2 table", offset)
            yield offset


def _check_l1_part(source: Source, header: Header, end: int) -> None:
    """Refuse an L1 table whose first `end` entries are not in the file, which may end inside its last cluster."""
    if header.l1_offset + end * 8 > _end_of_last_cluster(source, header):
        _refuse_truncated("the L1 table", header.l1_offset, source)


def _standard_table(words: array[int], source: Source, header: Header, oddities: Oddities) -> Iterator[_Piece]:
    """Give the pieces of an L2 table of 64-bit entries: for each entry, or for neighbouring compressed clusters."""
    first = 0
    while first < len(words):
        if words[first] & COMPRESSED:
            run = _compressed(words, first, source, header)
            first += len(run.offsets)
            yield run
        else:
            end = first + 1
            while end < len(words) and not words[end] & COMPRESSED:
                end += 1
            yield from _standard_entries(words[first:end], header, oddities)
            first = end


def _standard_entries(entries: array[int], header: Header, oddities: Oddities) -> Iterator[_Piece]:
    """Give a piece for each 64-bit entry that is not compressed."""
    size = header.cluster_size
    unaligned = size - 1
    bits = 0
    for entry in entries:
        bits |= entry
        offset = entry & _OFFSET
        if offset & unaligned:
            _refuse_unaligned("data cluster", offset)
        if entry & _ZERO:
            if header.version == 2:
                _refuse(f"L2 entry {entry:#018x} has the zero flag, which version 2 does not know")
            yield 0, size
        else:
            yield offset, size
    oddities.note_l2(bits)


def _extended_table(words: array[int], source: Source, header: Header, oddities: Oddities) -> Iterator[_Piece]:
    """Give the pieces of an L2 table of 128-bit entries: one for each cluster, or for each of its 32 subclusters."""
    size = header.cluster_size
    unaligned = size - 1
    bits = 0
    for entry, bitmap in zip(words[::2], words[1::2], strict=True):
        if entry & COMPRESSED:
            yield _compressed(array("Q", [entry]), 0, source, header)
            continue
        bits |= entry
        offset = entry & _OFFSET
        if offset & unaligned:
            _refuse_unaligned("data cluster", offset)
        allocated = bitmap & _ALL_SUBCLUSTERS
        if allocated & bitmap >> _SUBCLUSTERS:
            _refuse(f"subclusters of the cluster at byte {offset} are both allocated and zero: {bitmap:#018x}")
        if allocated and not offset:
            _refuse(f"subclusters are allocated in a cluster that has no offset: {bitmap:#018x}")
        if allocated in (0, _ALL_SUBCLUSTERS):
            yield offset if allocated else 0, size
        else:
            yield from _subclusters(offset, allocated, size // _SUBCLUSTERS)
    oddities.note_l2(bits)


def _subclusters(offset: int, allocated: int, size: int) -> Iterator[_Piece]:
    for index in range(_SUBCLUSTERS):
        yield (offset + index * size if allocated >> index & 1 else 0), size


def _compressed(entries: array[int], first: int, source: Source, header: Header) -> Compressed:
    """Read neighbouring compressed clusters. Their last sectors may be past the end of the file; a stream may not."""
    offsets, sizes, highest = read_descriptors(entries, first, header.cluster_bits)
    if highest >= source.size:
        _refuse_truncated("a compressed cluster", highest, source)
    return Compressed(offsets, sizes, len(offsets) * header.cluster_size, header.compression, header.cluster_size)


def _join(pieces: Iterator[_Piece], source: Source, header: Header, oddities: Oddities) -> Iterator[Run]:
    """Join zeros, and clusters that lie one after the other in the file, to runs."""
    start = length = 0
    for piece in pieces:
        if isinstance(piece, Compressed):
            if length:
                yield from _run(start, length, source, header, oddities)
                length = 0
            yield piece
            continue
        offset, size = piece
        # A start of 0 stands for zeros, which go on as zeros; data goes on where it ended.
        if offset == (start and start + length) and 0 < length < _LONGEST_RUN:
            length += size
        else:
            if length:
                yield from _run(start, length, source, header, oddities)
            start, length = offset, size
    if length:
        yield from _run(start, length, source, header, oddities)


def _run(start: int, length: int, source: Source, header: Header, oddities: Oddities) -> Iterator[Run]:
    """Give a run its type. The file may end inside its last cluster, whose rest is zeros; not before a cluster."""
    if start == 0:
        yield Zeros(length)
        return
    if start + length > _end_of_last_cluster(source, header):
        _refuse_truncated("data", max(start, source.size), source)
    oddities.note_data(start, length)
    stored = max(0, min(length, source.size - start))
    if stored:
        yield Stored(start, stored)
    if stored < length:
        yield Zeros(length - stored)


def _end_of_last_cluster(source: Source, header: Header) -> int:
    return -(-source.size // header.cluster_size) * header.cluster_size


def _clip(runs: Iterator[Run], size: int) -> Iterator[Run]:
    """Cut the last run where the disk ends: clusters are mapped whole."""
    left = size
    for run in runs:
        if run.length <= left:
            yield run
        elif left:
            yield _shorten(run, left)
        left -= min(left, run.length)


def _shorten(run: Run, length: int) -> Run:
    match run:
        case Zeros():
            return Zeros(length)
        case Stored():
            return Stored(run.offset, length)
        case Compressed():
            count = -(-length // run.cluster_size)
            return Compressed(run.offsets[:count], run.sizes[:count], length, run.method, run.cluster_size)


def _refuse(reason: str) -> NoReturn:
    raise ImageRefused(RefusalCode.CORRUPT_TABLE, reason)


def _refuse_unaligned(what: str, offset: int) -> NoReturn:
    _refuse(f"a {what} is said to be at byte {offset}, which is not the start of a cluster")


def _refuse_truncated(what: str, offset: int, source: Source) -> NoReturn:
    raise ImageRefused(
        RefusalCode.TRUNCATED, f"{what} is said to be at byte {offset}, but the file ends at byte {source.size}"
    )
