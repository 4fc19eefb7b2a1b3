"""What is odd in an image's tables, though qemu reads it all the same: worth a warning, for no tool writes it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import reduce
from operator import or_

from manifest_service.disks.qcow2.header import Header

_OFFSET = 0x00FFFFFFFFFFFE00
_RESERVED_IN_L1 = 0x7F000000000001FF
_RESERVED_IN_L2 = 0x3F000000000001FE
_RESERVED_IN_EXTENDED_L2 = _RESERVED_IN_L2 | 1

_RESERVED = "Reserved bits are set in the image's tables. qemu ignores them, and no tool of qemu sets them."
_OVERLAP = "Data and tables of the image lie in the same place. qemu reads them as they are; no tool of qemu writes so."


class Oddities:
    """Takes note of entries and places while a disk is mapped; says afterwards what was odd."""

    def __init__(self, header: Header) -> None:
        self._cluster_size = header.cluster_size
        self._l1 = range(header.l1_offset, header.l1_offset + header.l1_entries * 8)
        self._reserved_in_l2 = _RESERVED_IN_EXTENDED_L2 if header.extended_l2 else _RESERVED_IN_L2
        self._tables: list[int] = []
        self._found: dict[str, None] = {}

    def note_l1(self, entries: Iterable[int]) -> None:
        """Take note of L1 entries whose tables are about to be read."""
        words = set(entries) - {0}
        if reduce(or_, words, 0) & _RESERVED_IN_L1:
            self._found[_RESERVED] = None
        self._tables = sorted({word & _OFFSET for word in words} - {0})
        for table in self._tables:
            if table < self._l1.stop and self._l1.start < table + self._cluster_size:
                self._found[_OVERLAP] = None

    def note_l2(self, bits: int) -> None:
        """Take note of all bits that are set in some L2 entries which are not compressed."""
        if bits & self._reserved_in_l2:
            self._found[_RESERVED] = None

    def note_data(self, start: int, length: int) -> None:
        """Take note of data that lies in these bytes of the file. Only tables near it in the disk are known here."""
        end = start + length
        next_table = bisect_left(self._tables, start)
        in_table = next_table < len(self._tables) and self._tables[next_table] < end
        if in_table or (start < self._l1.stop and self._l1.start < end):
            self._found[_OVERLAP] = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """A sentence for each kind of oddity."""
        return tuple(self._found)
