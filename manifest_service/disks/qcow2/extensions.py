"""Header extensions: the list of optional areas between the header and the backing file's name.

     0       4       8               8 + length, rounded up to 8
    +-------+-------+- - - - - - - -+-------+
    | type  |length | data          | type  | ...
    +-------+-------+- - - - - - - -+-------+

Specification: section "Header extensions". Only what can make qemu refuse the image, and bitmaps, are looked at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from manifest_service.disks.limits import Limits
from manifest_service.disks.qcow2.header import Header, corrupt
from manifest_service.disks.source import Source, read_padded

_ENTRY = struct.Struct(">II")
_BITMAPS = struct.Struct(">IIQQ")

_END = 0x00000000
_BACKING_FORMAT = 0xE2792ACA
_ENCRYPTION = 0x0537BE77
_BITMAPS_TYPE = 0x23852875

_LONGEST_BACKING_FORMAT = 15


@dataclass(frozen=True, slots=True)
class BitmapDirectory:
    """Where the directory of persistent bitmaps lies (bytes), and how many it holds."""

    bitmaps: int
    size: int
    offset: int


def read_extensions(source: Source, header: Header, limits: Limits) -> BitmapDirectory | None:
    """Walk the list as qemu does; return where the bitmaps are if the image says that they are valid."""
    end = header.extensions_end
    area = read_padded(source, 0, end)
    bitmaps = None
    position = header.length
    while position < end:
        data = position + _ENTRY.size
        kind, length = _ENTRY.unpack_from(area, position) if data <= end else (_END, end)
        if data + length > end:
            corrupt(f"the header extension at byte {position} reaches past the end of its area at byte {end}")
        if kind == _END:
            break
        if kind == _BACKING_FORMAT and length > _LONGEST_BACKING_FORMAT:
            corrupt(f"the name of the backing file's format has {length} bytes, more than {_LONGEST_BACKING_FORMAT}")
        if kind == _ENCRYPTION:
            corrupt(f"there is an encryption header at byte {position}, but the image is not encrypted")
        if kind == _BITMAPS_TYPE:
            bitmaps = _read_bitmaps(area, data, length, header, limits) or bitmaps
        position = data + (length + 7) // 8 * 8
    return bitmaps


def _read_bitmaps(area: bytearray, data: int, length: int, header: Header, limits: Limits) -> BitmapDirectory | None:
    """Read the bitmaps extension: number, 4 reserved bytes, size and offset of the directory."""
    if length != _BITMAPS.size:
        corrupt(f"the bitmaps extension has {length} bytes, not {_BITMAPS.size}")
    if not header.bitmaps_valid:
        return None
    bitmaps, reserved, size, offset = _BITMAPS.unpack_from(area, data)
    if reserved:
        corrupt("the bitmaps extension has reserved bits set")
    if not 0 < bitmaps <= limits.bitmaps:
        corrupt(f"the image has {bitmaps} bitmaps; 1 to {limits.bitmaps} are allowed")
    if offset % header.cluster_size:
        corrupt(f"the bitmap directory is at byte {offset}, which is not the start of a cluster")
    if not 0 < size <= limits.bitmap_directory_size:
        corrupt(f"the bitmap directory has {size} bytes; 1 to {limits.bitmap_directory_size} are allowed")
    return BitmapDirectory(bitmaps, size, offset)
