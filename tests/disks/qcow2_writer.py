"""Writes qcow2 images byte by byte: those that qemu-img makes, and those that it never would.

     cluster 0   1               2                3            …
    +----------+---------------+----------------+------------+-----------------------+------------------+
    | header   | refcount table| L1 table       | L2 tables  | data                  | compressed data  |
    +----------+---------------+----------------+------------+-----------------------+------------------+

The refcount table is empty: neither qemu-img convert nor the project looks at it.
"""

import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Self

HEADER_FIELDS = {
    # name: (offset, size in bytes)
    "magic": (0, 4),
    "version": (4, 4),
    "backing_offset": (8, 8),
    "backing_size": (16, 4),
    "cluster_bits": (20, 4),
    "size": (24, 8),
    "crypt_method": (32, 4),
    "l1_entries": (36, 4),
    "l1_offset": (40, 8),
    "refcount_offset": (48, 8),
    "refcount_clusters": (56, 4),
    "snapshots": (60, 4),
    "snapshots_offset": (64, 8),
    "incompatible": (72, 8),
    "compatible": (80, 8),
    "autoclear": (88, 8),
    "refcount_order": (96, 4),
    "length": (100, 4),
    "compression_type": (104, 1),
}

COMPRESSED = 1 << 62
COPIED = 1 << 63
ZERO = 1

EXTENDED_L2 = 1 << 4
ZSTD = 1 << 3


@dataclass(frozen=True)
class Data:
    """A cluster that is stored as it is. flags: further bits of its L2 entry; bitmap: of an extended one."""

    content: bytes
    flags: int = COPIED
    bitmap: int = 0xFFFFFFFF


@dataclass(frozen=True)
class Packed:
    """A compressed cluster: the bytes in the file, and how many sectors more or less its descriptor claims."""

    stream: bytes
    further_sectors: int = 0


@dataclass(frozen=True)
class Entry:
    """An L2 entry as it stands, with its second word where L2 entries are extended."""

    word: int
    bitmap: int = 0


Cluster = Data | Packed | Entry


@dataclass(frozen=True)
class Image:
    """What to write. fields: header fields that are given other values at the very end."""

    clusters: dict[int, Cluster] = field(default_factory=dict)
    size: int = 0
    cluster_bits: int = 16
    version: int = 3
    incompatible: int = 0
    extensions: bytes = b""
    backing_name: bytes | None = None
    fields: dict[str, int] = field(default_factory=dict)
    l1: dict[int, int] = field(default_factory=dict)
    """L1 entries that are given other values."""
    tail: bytes = b""
    """Bytes after the last cluster; `tail_offset` says where they will be."""

    def but(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def with_fields(self, **values: int) -> Self:
        return replace(self, fields={**self.fields, **values})

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def extended(self) -> bool:
        return bool(self.incompatible & EXTENDED_L2)

    @property
    def l2_entries(self) -> int:
        return self.cluster_size // (16 if self.extended else 8)

    @property
    def l1_entries(self) -> int:
        return -(-self.size // (self.cluster_size * self.l2_entries))

    @property
    def l2_tables(self) -> list[int]:
        """Indices of the L2 tables that are written."""
        return sorted({index // self.l2_entries for index in self.clusters})

    @property
    def l1_offset(self) -> int:
        return 2 * self.cluster_size

    @property
    def l2_offset(self) -> int:
        """Where the first L2 table is."""
        return self.l1_offset + self._round(max(1, self.l1_entries * 8))

    @property
    def data_offset(self) -> int:
        """Where the first data cluster is; they follow in guest order."""
        return self.l2_offset + len(self.l2_tables) * self.cluster_size

    @property
    def tail_offset(self) -> int:
        return self._round(len(self.but(tail=b"").write()))

    def write(self) -> bytes:
        """The image's bytes."""
        l1 = [0] * max(self.l1_entries, *(index + 1 for index in self.l1), 1)
        l2: dict[int, list[int]] = {}
        for position, index in enumerate(self.l2_tables):
            l2[index] = [0] * (self.cluster_size // 8)
            l1[index] = self.l2_offset + position * self.cluster_size | COPIED
        stored = bytearray()
        packed = bytearray()
        packed_offset = self.data_offset + sum(isinstance(c, Data) for c in self.clusters.values()) * self.cluster_size
        for index, cluster in sorted(self.clusters.items()):
            match cluster:
                case Data(content, flags, bitmap):
                    words = [self.data_offset + len(stored) | flags, bitmap]
                    stored += content.ljust(self.cluster_size, b"\0")
                case Packed(stream, further_sectors):
                    offset = packed_offset + len(packed)
                    words = [self.descriptor(offset, len(stream), further_sectors), 0]
                    packed += stream
                case Entry(word, bitmap):
                    words = [word, bitmap]
            width = 2 if self.extended else 1
            place = index % self.l2_entries * width
            l2[index // self.l2_entries][place : place + width] = words[:width]
        for index, word in self.l1.items():
            l1[index] = word
        body = self._pad(struct.pack(f">{len(l1)}Q", *l1) or b"\0")
        for table in l2.values():
            body += struct.pack(f">{len(table)}Q", *table)
        image = self._pad(self._header()) + bytes(self.cluster_size) + body + stored + packed
        return self._pad(image) + self.tail if self.tail else image

    def descriptor(self, offset: int, size: int, further_sectors: int = 0) -> int:
        """The L2 entry of a compressed cluster whose `size` bytes are at `offset`."""
        shift = 62 - (self.cluster_bits - 8)
        sectors = (offset + size - 1) // 512 - offset // 512 + further_sectors
        return COMPRESSED | sectors << shift | offset

    def _header(self) -> bytes:
        length = 72 if self.version == 2 else 112
        values = {
            "magic": 0x514649FB,
            "version": self.version,
            "cluster_bits": self.cluster_bits,
            "size": self.size,
            "l1_entries": self.l1_entries,
            "l1_offset": self.l1_offset,
            "refcount_offset": self.cluster_size,
            "refcount_clusters": 1,
            "incompatible": self.incompatible,
            "refcount_order": 4,
            "length": length,
            "compression_type": int(bool(self.incompatible & ZSTD)),
        }
        extensions = self.extensions
        if self.backing_name is not None:
            values["backing_offset"] = length + len(extensions) + 8
            values["backing_size"] = len(self.backing_name)
            extensions += bytes(8) + self.backing_name
        header = bytearray(max(length, 112))
        for name, value in {**values, **self.fields}.items():
            offset, size = HEADER_FIELDS[name]
            if self.version == 3 or offset < 72:
                header[offset : offset + size] = value.to_bytes(size, "big")
        return bytes(header[:length]) + extensions

    def _pad(self, data: bytes) -> bytes:
        return data.ljust(self._round(len(data)), b"\0")

    def _round(self, length: int) -> int:
        return -(-length // self.cluster_size) * self.cluster_size


def extension(kind: int, data: bytes) -> bytes:
    """A header extension with its padding."""
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def deflate(data: bytes, window_bits: int = 12) -> bytes:
    """A raw deflate stream, as qemu writes it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -window_bits)
    return compressor.compress(data) + compressor.flush()
