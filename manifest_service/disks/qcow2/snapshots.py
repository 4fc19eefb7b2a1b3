"""Internal snapshots: no part of the disk, but qemu refuses an image whose snapshot table is broken.

     0               8       12  14  16              32      36      40
    +---------------+-------+---+---+- - - - - - - -+-------+-------+- - -
    | L1 offset     | L1#   |id#|nm#| dates, clock  |vmstate|extra# | extra data, id, name; padded to 8
    +---------------+-------+---+---+- - - - - - - -+-------+-------+- - -

Specification: section "Snapshots".
"""

from __future__ import annotations

import struct

from manifest_service.disks.limits import Limits
from manifest_service.disks.qcow2.header import Header
from manifest_service.disks.source import Source, read_padded
from manifest_service.errors import ImageRefused, RefusalCode

_ENTRY = struct.Struct(">12x HH 20x I")


def check_snapshots(source: Source, header: Header, limits: Limits) -> None:
    """Walk the table as qemu does. What lies past the end of the file reads as zeros: entries without any text."""
    length = 0
    for index in range(header.snapshots):
        length = (length + 7) // 8 * 8
        if header.snapshots_offset + length >= source.size:
            length += (header.snapshots - index) * _ENTRY.size
            break
        id_size, name_size, extra_size = _ENTRY.unpack(
            read_padded(source, header.snapshots_offset + length, _ENTRY.size)
        )
        if extra_size > limits.snapshot_extra_data:
            _refuse(f"snapshot {index} has {extra_size} bytes of extra data, more than {limits.snapshot_extra_data}")
        length += _ENTRY.size + extra_size + id_size + name_size
        if length > limits.snapshot_table_size:
            break
    if length > limits.snapshot_table_size:
        _refuse(f"the snapshot table has more than {limits.snapshot_table_size} bytes")


def _refuse(reason: str) -> None:
    raise ImageRefused(RefusalCode.CORRUPT_TABLE, reason)
