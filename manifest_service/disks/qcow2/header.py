"""The header of a qcow2 image: parsed, and refused where qemu refuses it.

      0   4   8               16  20  24              32  36  40
    +---+---+---------------+---+---+---------------+---+---+---------------+
    |QFI|ver| backing offset|len|cb | virtual size  |cry|L1#| L1 offset     |
    +---+---+---------------+---+---+---------------+---+---+---------------+
     48              56  60  64
    +---------------+---+---+---------------+    ver 2 ends here, at byte 72
    | refcount table|cl#|sn#| snapshots     |
    +---------------+---+---+---------------+---------------+---+---+--+
    | incompatible  | compatible    | autoclear     |rc |len|ct|  ver 3 ends here, or later
    +---------------+---------------+---------------+---+---+--+
     72              80              88              96  100 104

Specification: sections "Header" and "Additional fields". All numbers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from manifest_service.disks.limits import Limits
from manifest_service.disks.runs import CompressionMethod
from manifest_service.disks.source import Source, read_padded
from manifest_service.errors import ImageRefused, RefusalCode

_BASE = struct.Struct(">4sIQIIQIIQQIIQ")
_VERSION_3 = struct.Struct(">QQQII")
_LENGTH_VERSION_2 = 72
_LENGTH_VERSION_3 = 104

_DIRTY = 1 << 0
_CORRUPT = 1 << 1
_EXTERNAL_DATA_FILE = 1 << 2
_COMPRESSION_TYPE = 1 << 3
_EXTENDED_L2 = 1 << 4
_KNOWN_INCOMPATIBLE = _DIRTY | _CORRUPT | _EXTERNAL_DATA_FILE | _COMPRESSION_TYPE | _EXTENDED_L2

_AUTOCLEAR_BITMAPS = 1 << 0
_AUTOCLEAR_RAW_DATA_FILE = 1 << 1

_LONGEST_BACKING_NAME = 1023
_SNAPSHOT = 40
"""Bytes of the shortest entry of the snapshot table."""

_SECTOR = 512

LARGEST_END = 2**63 - 2**30
"""Byte of a file behind which qemu reads nothing, not even the zeros past the file's end (its BDRV_MAX_LENGTH)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says, in bytes and entries, after the checks of `read_header`."""

    version: int
    length: int
    cluster_bits: int
    size: int
    extended_l2: bool
    compression: CompressionMethod
    marked_dirty: bool
    marked_corrupt: bool
    bitmaps_valid: bool
    l1_offset: int
    l1_entries: int
    snapshots_offset: int
    snapshots: int
    extensions_end: int

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def virtual_size(self) -> int:
        """Bytes of the disk: qemu counts whole sectors and drops the rest."""
        return self.size // _SECTOR * _SECTOR

    @property
    def l2_entry_size(self) -> int:
        """Bytes of an L2 entry: an extended one has a second word, the bitmap of its subclusters."""
        return 16 if self.extended_l2 else 8

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table, which fills one cluster."""
        return self.cluster_size // self.l2_entry_size

    @property
    def l2_coverage(self) -> int:
        """Bytes of the disk that one L2 table maps."""
        return self.l2_entries * self.cluster_size


def corrupt(reason: str) -> NoReturn:
    """Refuse an image for what its header says."""
    raise ImageRefused(RefusalCode.CORRUPT_HEADER, reason)


def read_header(source: Source, limits: Limits) -> Header:
    """Parse and check the header. Reads the source's first cluster at most."""
    fields = _parse(source)
    _check_format(source, fields)
    _check_features(fields.incompatible, fields.autoclear)
    compression = _read_compression(source, fields)
    if fields.crypt_method:
        raise ImageRefused(RefusalCode.ENCRYPTED, f"the image is encrypted (method {fields.crypt_method})")
    _check_backing(source, fields)
    if fields.size > limits.virtual_size:
        raise ImageRefused(
            RefusalCode.VIRTUAL_SIZE_LIMIT,
            f"the disk has {fields.size} bytes, more than the {limits.virtual_size} that are allowed",
        )
    header = Header(
        version=fields.version,
        length=fields.length,
        cluster_bits=fields.cluster_bits,
        size=fields.size,
        extended_l2=bool(fields.incompatible & _EXTENDED_L2),
        compression=compression,
        marked_dirty=bool(fields.incompatible & _DIRTY),
        marked_corrupt=bool(fields.incompatible & _CORRUPT),
        bitmaps_valid=bool(fields.autoclear & _AUTOCLEAR_BITMAPS),
        l1_offset=fields.l1_offset,
        l1_entries=fields.l1_entries,
        snapshots_offset=fields.snapshots_offset,
        snapshots=fields.snapshots,
        extensions_end=fields.backing_offset or 1 << fields.cluster_bits,
    )
    _check_tables(fields, header, limits)
    return header


class _Fields(NamedTuple):
    """The header's fields in their order, as they are there."""

    magic: bytes
    version: int
    backing_offset: int
    backing_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = _LENGTH_VERSION_2


def _parse(source: Source) -> _Fields:
    data = read_padded(source, 0, _LENGTH_VERSION_3)
    base = _BASE.unpack_from(data)
    fields = _Fields(*base)
    return fields if fields.version == 2 else _Fields(*base, *_VERSION_3.unpack_from(data, _BASE.size))


def _check_format(source: Source, fields: _Fields) -> None:
    """Check what all the rest depends on: version, sizes."""
    if fields.magic != b"QFI\xfb":
        raise ImageRefused(RefusalCode.FORMAT_MISMATCH, "the image is said to be qcow2, but has no qcow2 header")
    if fields.version not in (2, 3):
        raise ImageRefused(
            RefusalCode.UNSUPPORTED_FEATURE, f"qcow2 version {fields.version} is unknown; 2 and 3 are known"
        )
    if not 9 <= fields.cluster_bits <= 21:
        corrupt(f"clusters have 2^9 to 2^21 bytes, not 2^{fields.cluster_bits}")
    cluster_size = 1 << fields.cluster_bits
    least = _LENGTH_VERSION_3 if fields.version == 3 else _LENGTH_VERSION_2
    if source.size < least:
        raise ImageRefused(
            RefusalCode.TRUNCATED, f"the file has {source.size} bytes, but the header alone has {least} or more"
        )
    if not least <= fields.length <= cluster_size:
        corrupt(f"the header has {least} to {cluster_size} bytes, not {fields.length}")
    if fields.incompatible & _EXTENDED_L2 and fields.cluster_bits < 14:
        corrupt(f"clusters of 2^{fields.cluster_bits} bytes are too small for subclusters; 2^14 is the least")
    if fields.refcount_order > 6:
        corrupt(f"reference counts have 2^6 bits at most, not 2^{fields.refcount_order}")


def _check_features(incompatible: int, autoclear: int) -> None:
    unknown = incompatible & ~_KNOWN_INCOMPATIBLE
    if unknown:
        raise ImageRefused(
            RefusalCode.UNSUPPORTED_FEATURE, f"the image needs features that are unknown here: bits {unknown:#x}"
        )
    if incompatible & _EXTERNAL_DATA_FILE:
        raise ImageRefused(RefusalCode.DATA_FILE, "the disk's data is in another file")
    if autoclear & _AUTOCLEAR_RAW_DATA_FILE:
        corrupt("the data file is said to be raw, but there is no data file")


def _read_compression(source: Source, fields: _Fields) -> CompressionMethod:
    number = read_padded(source, _LENGTH_VERSION_3, 1)[0] if fields.length > _LENGTH_VERSION_3 else 0
    if number > 1:
        raise ImageRefused(RefusalCode.UNSUPPORTED_FEATURE, f"compression type {number} is unknown; 0 and 1 are known")
    if bool(number) != bool(fields.incompatible & _COMPRESSION_TYPE):
        corrupt(f"compression type {number} and the feature bit for it contradict each other")
    return "zstd" if number else "zlib"


def _check_backing(source: Source, fields: _Fields) -> None:
    """Refuse a backing file. One whose name is empty or starts with NUL is none: so qemu reads it."""
    offset, size, cluster_size = fields.backing_offset, fields.backing_size, 1 << fields.cluster_bits
    if offset > cluster_size:
        corrupt(f"the backing file's name is at byte {offset}, outside of the first cluster of {cluster_size} bytes")
    if offset == 0 or size == 0:
        return
    if size > min(_LONGEST_BACKING_NAME, cluster_size - offset):
        corrupt(f"the backing file's name at byte {offset} has {size} bytes, which is too long")
    if read_padded(source, offset, 1) != b"\0":
        raise ImageRefused(RefusalCode.BACKING_FILE, f"the disk builds on another file, named at byte {offset}")


def _check_tables(fields: _Fields, header: Header, limits: Limits) -> None:
    """Check sizes and places of the tables. Refcounts are not read: they do not affect content."""
    if fields.refcount_clusters == 0:
        corrupt("there is no refcount table")
    refcount_size = fields.refcount_clusters * header.cluster_size
    _check_table("refcount table", fields.refcount_offset, refcount_size, limits.refcount_table_size, header)
    snapshots_size, snapshots_limit = header.snapshots * _SNAPSHOT, limits.snapshots * _SNAPSHOT
    _check_table("snapshot table", header.snapshots_offset, snapshots_size, snapshots_limit, header)
    _check_table("L1 table", header.l1_offset, header.l1_entries * 8, limits.l1_entries * 8, header)
    needed = -(-header.size // header.l2_coverage)
    if header.l1_entries < needed:
        corrupt(f"the L1 table has {header.l1_entries} entries, but a disk of {header.size} bytes needs {needed}")


def _check_table(name: str, offset: int, size: int, limit: int, header: Header) -> None:
    """Check where a table lies, as qemu does for empty tables, too. Whether the file has so many bytes is no matter."""
    if size > limit:
        corrupt(f"the {name} has {size} bytes or more; {limit} are allowed")
    if size and offset + size > LARGEST_END:
        corrupt(f"the {name} ends at byte {offset + size}; no file goes beyond byte {LARGEST_END}")
    if offset % header.cluster_size or offset + size > 2**63 - 1:
        corrupt(f"the {name} is at byte {offset}, which is not the start of a cluster")
