"""Persistent bitmaps: no part of the disk, but qemu loads them when it opens the image and refuses broken ones.

     0               8       12      16  17  18  20      24
    +---------------+-------+-------+---+---+---+-------+- - -
    | table offset  | table#| flags |typ|gra|nm#|extra# | extra data, name; padded to 8
    +---------------+-------+-------+---+---+---+-------+- - -

Specification: sections "Bitmaps", "Bitmap directory" and "Bitmap table".
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import NoReturn

from manifest_service.disks.limits import Limits
from manifest_service.disks.qcow2.extensions import BitmapDirectory
from manifest_service.disks.qcow2.header import LARGEST_END, Header
from manifest_service.disks.qcow2.words import read_words
from manifest_service.disks.source import Source, read_padded
from manifest_service.errors import ImageRefused, RefusalCode

_ENTRY = struct.Struct(">QIIBBHI")

_IN_USE = 1 << 0
_AUTO = 1 << 1
_DIRTY_TRACKING = 1
_LONGEST_NAME = 1023

# Bits of an entry of a bitmap table: 63-56 reserved, 55-9 offset, 8-1 reserved, 0 all ones (only without an offset).
_TABLE_RESERVED = 0xFF000000000001FE
_TABLE_OFFSET = 0x00FFFFFFFFFFFE00
_TABLE_ALL_ONES = 1
_TABLE_PART = 1 << 16


@dataclass(frozen=True, slots=True)
class _Bitmap:
    """An entry of the directory, as it is there."""

    table_offset: int
    table_entries: int
    flags: int
    kind: int
    granularity_bits: int
    name_size: int
    extra_size: int

    @property
    def length(self) -> int:
        """Bytes that the entry takes in the directory."""
        return (_ENTRY.size + self.extra_size + self.name_size + 7) // 8 * 8


def check_bitmaps(source: Source, header: Header, directory: BitmapDirectory, limits: Limits) -> None:
    """Load directory and tables as qemu does, and refuse what it refuses."""
    names: set[bytes] = set()
    position = entries = 0
    for index in range(directory.bitmaps):
        start = directory.offset + position
        bitmap = _read_entry(source, start)
        position += bitmap.length
        if position > directory.size or not _is_sound(bitmap, header, limits):
            _refuse(f"entry {index} of the bitmap directory, at byte {start}, is invalid")
        # qemu's names end at the first NUL. Only their digests are kept: 65,535 names of 1,023 bytes are 64 MiB.
        name = read_padded(source, start + _ENTRY.size, bitmap.name_size).split(b"\0")[0]
        known = len(names)
        names.add(hashlib.blake2b(name).digest())
        if bitmap.flags & _IN_USE:
            continue
        if len(names) == known:
            _refuse(f"bitmap {index} has the name of an earlier one")
        entries += bitmap.table_entries
        if entries > limits.bitmap_table_entries:
            _refuse(f"the bitmap tables have more than {limits.bitmap_table_entries} entries")
        _check_table(source, header, bitmap, index)
    if position != directory.size:
        _refuse(f"the bitmap directory has {directory.size} bytes, but its {directory.bitmaps} entries fill {position}")


def _read_entry(source: Source, offset: int) -> _Bitmap:
    return _Bitmap(*_ENTRY.unpack(read_padded(source, offset, _ENTRY.size)))


def _is_sound(bitmap: _Bitmap, header: Header, limits: Limits) -> bool:
    return (
        bitmap.extra_size == 0
        and bitmap.table_entries > 0
        and bitmap.table_entries * header.cluster_size <= limits.bitmap_size
        and bitmap.table_offset > 0
        and bitmap.table_offset % header.cluster_size == 0
        and 9 <= bitmap.granularity_bits <= 31
        and not bitmap.flags & ~(_IN_USE | _AUTO)
        and bitmap.name_size <= _LONGEST_NAME
        and bitmap.kind == _DIRTY_TRACKING
    )


def _check_table(source: Source, header: Header, bitmap: _Bitmap, index: int) -> None:
    needed = _table_entries(header, bitmap.granularity_bits)
    if bitmap.table_entries != needed:
        _refuse(f"the table of bitmap {index} has {bitmap.table_entries} entries, not {needed}")
    if bitmap.table_offset + bitmap.table_entries * 8 > LARGEST_END:
        _refuse(f"the table of bitmap {index} ends beyond byte {LARGEST_END}, where no file goes")
    for first in range(0, bitmap.table_entries, _TABLE_PART):
        count = min(_TABLE_PART, bitmap.table_entries - first)
        for word in read_words(source, bitmap.table_offset + first * 8, count):
            offset = word & _TABLE_OFFSET
            if word & _TABLE_RESERVED or (offset and word & _TABLE_ALL_ONES) or offset % header.cluster_size:
                _refuse(f"the table of bitmap {index} has an invalid entry, {word:#018x}")


def _table_entries(header: Header, granularity_bits: int) -> int:
    """Clusters that a bitmap of the whole disk fills; qemu stores it in words of 64 bits."""
    bits = -(-header.virtual_size // (1 << granularity_bits))
    size = -(-bits // 64) * 8
    return -(-size // header.cluster_size)


def _refuse(reason: str) -> NoReturn:
    raise ImageRefused(RefusalCode.CORRUPT_TABLE, reason)
