"""Descriptors of compressed clusters, many at a time: by native_descriptors.c where this installation has it.

L2 entry of a compressed cluster (specification: section "Compressed Clusters Descriptor"), x = 62 - (cluster_bits - 8):

     63    62    61                x  x-1                              0
    +-----+-----+-------------------+----------------------------------+
    |COPY |  1  | further sectors   | offset in the file, in bytes     |
    +-----+-----+-------------------+----------------------------------+
"""

from __future__ import annotations

from array import array
from operator import add
from types import ModuleType
from typing import NamedTuple

native: ModuleType | None
try:
    from manifest_service.disks.qcow2 import native_descriptors as native
except ImportError:
    native = None

COMPRESSED = 1 << 62
_SECTOR = 512


class Descriptors(NamedTuple):
    """Where compressed clusters lie in the file.

    offsets: in bytes, 64 bits each. sizes: bytes that are counted, to the end of a sector, 32 bits each. highest: of
        the offsets; 0 where there is none.
    """

    offsets: array[int]
    sizes: array[int]
    highest: int


def read_descriptors(entries: array[int], first: int, cluster_bits: int) -> Descriptors:
    """Read L2 entries from the index `first` on, up to the first that is of no compressed cluster.

    entries: 64 bits each. cluster_bits: from 9 to 21.
    """
    if native is None:
        return _read_descriptors(entries, first, cluster_bits)
    offsets, sizes, highest = native.read_descriptors(entries, first, cluster_bits)
    return Descriptors(array("Q", offsets), array("I", sizes), highest)


def find_extent(offsets: array[int], sizes: array[int]) -> range:
    """The bytes of the file from the first of one or more clusters to the last; see `Descriptors` for both."""
    if native is None:
        return range(min(offsets), max(map(add, offsets, sizes)))
    return range(*native.find_extent(offsets, sizes))


def _read_descriptors(entries: array[int], first: int, cluster_bits: int) -> Descriptors:
    count_bits = cluster_bits - 8
    offset_bits = 62 - count_bits
    in_file, counted, in_sector = (1 << offset_bits) - 1, (1 << count_bits) - 1, _SECTOR - 1
    end = first
    while end < len(entries) and entries[end] & COMPRESSED:
        end += 1
    compressed = entries[first:end]
    offsets = array("Q", [entry & in_file for entry in compressed])
    # The low bits of an entry are those of its offset.
    sizes = [((entry >> offset_bits & counted) + 1) * _SECTOR - (entry & in_sector) for entry in compressed]
    return Descriptors(offsets, array("I", sizes), max(offsets, default=0))
