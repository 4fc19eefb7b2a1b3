"""Snapshot tables and persistent bitmaps."""

import struct

from manifest_service.errors import RefusalCode
from tests.disks.catalogue.case import CLUSTER, END, PLAIN, Case, bad, fine
from tests.disks.qcow2_writer import Image, extension


def _snapshot(extra: int = 16, id_: bytes = b"1", name: bytes = b"before", claimed_extra: int | None = None) -> bytes:
    entry = struct.pack(">QIHHIIQII", 1 << 50, 2**32 - 1, len(id_), len(name), 0, 0, 0, 0, claimed_extra or extra)
    entry += bytes(extra) + id_ + name
    return entry + bytes(-len(entry) % 8)


def _snapshots() -> list[Case]:
    table, header = RefusalCode.CORRUPT_TABLE, RefusalCode.CORRUPT_HEADER

    def holding(count: int, *entries: bytes) -> Image:
        image = PLAIN.but(tail=b"".join(entries))
        return image.with_fields(snapshots=count, snapshots_offset=image.tail_offset)

    return [
        fine("two snapshots whose L1 tables are broken", holding(2, _snapshot(), _snapshot())),
        fine("snapshot with much extra data", holding(1, _snapshot(extra=1024))),
        bad("snapshot with too much extra data", holding(1, _snapshot(extra=1025)), table),
        bad("second snapshot with too much extra data", holding(2, _snapshot(), _snapshot(claimed_extra=2**31)), table),
        fine("snapshot table past the end", PLAIN.with_fields(snapshots=3, snapshots_offset=1 << 40)),
        fine("no snapshots, beyond what qemu reads", PLAIN.with_fields(snapshots=0, snapshots_offset=END)),
        fine("last snapshots that qemu reads", PLAIN.with_fields(snapshots=102, snapshots_offset=END - CLUSTER)),
        bad("snapshots beyond them", PLAIN.with_fields(snapshots=103, snapshots_offset=END - CLUSTER), header),
        bad("snapshot beyond what qemu reads", PLAIN.with_fields(snapshots=1, snapshots_offset=END), header),
        fine("more snapshots than the file has", holding(9, _snapshot())),
    ]


def _bitmap_entry(
    table: int,
    entries: int = 1,
    flags: int = 0,
    kind: int = 1,
    granularity: int = 9,
    name: bytes = b"b0",
    extra: int = 0,
) -> bytes:
    entry = struct.pack(">QIIBBHI", table, entries, flags, kind, granularity, len(name), extra) + name
    return entry + bytes(-len(entry) % 8)


def _bitmapped(
    entry_words: int = 0, count: int = 1, reserved: int = 0, size_off: int = 0, **entry: int | bytes
) -> Image:
    """An image with one or two equal bitmaps: their table in the tail's first cluster, the directory in the second."""
    where = PLAIN.but(extensions=bytes(32), tail=b"x").tail_offset
    given: dict[str, int | bytes] = {"table": where, **entry}
    directory = _bitmap_entry(**given) * min(count, 2)  # type: ignore[arg-type]
    extension_data = struct.pack(">IIQQ", count, reserved, len(directory) + size_off, where + CLUSTER)
    return PLAIN.but(
        extensions=extension(0x23852875, extension_data),
        tail=struct.pack(">Q", entry_words).ljust(CLUSTER, b"\0") + directory,
    ).with_fields(autoclear=1)


def _bitmaps() -> list[Case]:
    table, header = RefusalCode.CORRUPT_TABLE, RefusalCode.CORRUPT_HEADER
    in_use = 1
    return [
        fine("bitmap", _bitmapped()),
        fine("bitmap of ones", _bitmapped(entry_words=1)),
        fine("bitmap stored in the file", _bitmapped(entry_words=CLUSTER)),
        fine("bitmap stored past the end", _bitmapped(entry_words=1 << 40)),
        fine("bitmap in use, with a broken table", _bitmapped(entry_words=2**64 - 1, flags=in_use)),
        fine("two bitmaps in use of one name", _bitmapped(count=2, flags=in_use)),
        fine("bitmap in use of another size", _bitmapped(flags=in_use, entries=7)),
        bad("two bitmaps of one name", _bitmapped(count=2), table),
        bad("two bitmaps of one name before its NUL", _bitmapped(count=2, name=b"a\0b"), table),
        bad("no bitmaps", _bitmapped(count=0), header),
        bad("fewer bitmaps than said", _bitmapped(count=3), table),
        bad("too many bitmaps", _bitmapped(count=65536), header),
        bad("reserved field of the bitmaps extension", _bitmapped(reserved=1), header),
        bad("bitmap directory too long", _bitmapped(size_off=8), table),
        bad("bitmap directory too short", _bitmapped(size_off=-8), table),
        bad("bitmap type", _bitmapped(kind=2), table),
        *(bad(f"bitmap granularity 2^{n}", _bitmapped(granularity=n), table) for n in (0, 8, 32, 255)),
        fine("bitmap granularity 2^31", _bitmapped(granularity=31)),
        bad("reserved flags of a bitmap", _bitmapped(flags=4), table),
        bad("bitmap extra data", _bitmapped(extra=8), table),
        bad("bitmap without a table", _bitmapped(table=0), table),
        fine("bitmap table at the last byte that qemu reads", _bitmapped(table=END - CLUSTER)),
        bad("bitmap table beyond what qemu reads", _bitmapped(table=END), table),
        bad("bitmap table beyond signed numbers", _bitmapped(table=1 << 63), table),
        fine("bitmap in use, with a table beyond what qemu reads", _bitmapped(table=END, flags=in_use)),
        bad("bitmap table unaligned", _bitmapped(table=CLUSTER + 512), table),
        bad("bitmap table of no entries", _bitmapped(entries=0), table),
        bad("bitmap table of too many entries", _bitmapped(entries=2), table),
        bad("bitmap table of 2^32 entries", _bitmapped(entries=2**32 - 1), table),
        bad("bitmap table's reserved bits", _bitmapped(entry_words=2), table),
        bad("bitmap table's high reserved bits", _bitmapped(entry_words=1 << 56), table),
        bad("bitmap table's entry with offset and ones", _bitmapped(entry_words=CLUSTER | 1), table),
        bad("bitmap table's entry unaligned", _bitmapped(entry_words=CLUSTER + 512), table),
        fine("bitmap name of 1,023 bytes", _bitmapped(name=b"n" * 1023)),
        bad("bitmap name of 1,024 bytes", _bitmapped(name=b"n" * 1024), table),
        fine("bitmap without a name", _bitmapped(name=b"")),
    ]


CASES = [*_snapshots(), *_bitmaps()]
