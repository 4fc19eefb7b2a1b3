"""L1 and L2 tables, and subclusters."""

import random

from manifest_service.errors import RefusalCode
from tests.disks.catalogue.case import (
    CLUSTER,
    FIRST,
    PLAIN,
    PLAIN_DISK,
    SECOND,
    SIZE,
    TEXT,
    THIRD,
    Case,
    bad,
    disk_of,
    fine,
)
from tests.disks.qcow2_writer import (
    COPIED,
    EXTENDED_L2,
    ZERO,
    Data,
    Entry,
    Image,
    Packed,
    deflate,
)


def _tables() -> list[Case]:
    table, truncated = RefusalCode.CORRUPT_TABLE, RefusalCode.TRUNCATED
    l2 = PLAIN.l2_offset
    past = 1 << 40

    def entry(word: int, index: int = 8, image: Image = PLAIN) -> Image:
        return image.but(clusters={**image.clusters, index: Entry(word)})

    reserved_l1 = 0x7F000000000001FF
    reserved_l2 = 0x3F000000000001FE
    zeroed = PLAIN_DISK
    return [
        fine("reserved bits of an L1 entry", PLAIN.but(l1={0: l2 | reserved_l1})),
        fine(
            "reserved bits of an L2 entry",
            entry(PLAIN.data_offset | reserved_l2),
            disk_of((1, FIRST), (3, TEXT), (5, SECOND), (6, THIRD), (8, FIRST)),
        ),
        bad("L2 table unaligned", PLAIN.but(l1={0: l2 + 512}), table),
        bad("L2 table past the end", PLAIN.but(l1={0: past}), truncated, qemu_converts=True),
        fine("L1 entry of reserved bits only", PLAIN.but(l1={0: reserved_l1}), bytes(SIZE)),
        fine("L2 table is the L1 table", PLAIN.but(l1={0: PLAIN.l1_offset}), None),
        fine("L2 table is data", PLAIN.but(clusters={0: Data(bytes(CLUSTER))}, l1={0: l2 + CLUSTER}), bytes(SIZE)),
        fine("data is the L2 table itself", entry(l2 | COPIED), None),
        fine(
            "data is shared",
            entry(PLAIN.data_offset),
            disk_of((1, FIRST), (3, TEXT), (5, SECOND), (6, THIRD), (8, FIRST)),
        ),
        bad("data unaligned", entry(PLAIN.data_offset + 512), table),
        bad("data unaligned, zero flag", entry(PLAIN.data_offset + 512 | ZERO), table),
        bad("data past the end", entry(past), truncated, qemu_converts=True),
        bad(
            "data right after the end",
            entry(-(-len(entry(past).write()) // CLUSTER) * CLUSTER),
            truncated,
            qemu_converts=True,
        ),
        fine("zero flag", entry(ZERO), zeroed),
        fine("zero flag and offset", entry(PLAIN.data_offset | ZERO), zeroed),
        fine("zero flag and offset past the end", entry(past | ZERO), zeroed),
        bad("zero flag in version 2", entry(ZERO, image=PLAIN.but(version=2)), table),
        fine("broken entry beyond the disk", entry(PLAIN.data_offset + 512, index=16), zeroed),
        fine("broken L1 entry beyond the disk", PLAIN.but(l1={1: l2 + 512}).with_fields(l1_entries=2), zeroed),
        fine(
            "last cluster cut",
            PLAIN.but(clusters={1: Data(FIRST)}).write()[: -CLUSTER + 1000],
            disk_of((1, FIRST[:1000])),
        ),
        bad(
            "last cluster missing",
            PLAIN.but(clusters={1: Data(FIRST)}).write()[:-CLUSTER],
            truncated,
            qemu_converts=True,
        ),
        bad("L2 table missing", PLAIN.but(clusters={1: Entry(ZERO)}).write()[:-CLUSTER], truncated, qemu_converts=True),
        fine("L2 table cut", PLAIN.but(clusters={1: Entry(ZERO)}).write()[: -CLUSTER + 16], bytes(SIZE)),
        fine("L1 table cut", PLAIN.but(clusters={}).write()[: 2 * CLUSTER + 8], bytes(SIZE)),
    ]


_EXTENDED = Image(size=8 * 16384, cluster_bits=14, incompatible=EXTENDED_L2)
_BIG = random.Random("d").randbytes(16384)


def _subclusters() -> list[Case]:
    table = RefusalCode.CORRUPT_TABLE

    def bitmap(value: int, flags: int = COPIED) -> Image:
        return _EXTENDED.but(clusters={1: Data(_BIG, flags, value)})

    def disk(*ranges: tuple[int, int]) -> bytes:
        content = bytearray(8 * 16384)
        for first, end in ranges:
            content[16384 + first * 512 : 16384 + end * 512] = _BIG[first * 512 : end * 512]
        return bytes(content)

    data_offset = _EXTENDED.but(clusters={1: Data(_BIG)}).data_offset
    cut = bitmap(0xFFFFFFFF).write()
    return [
        fine("all subclusters", bitmap(0xFFFFFFFF), disk((0, 32))),
        fine("no subclusters", bitmap(0), disk()),
        fine("some subclusters", bitmap(0x8000FF01), disk((0, 1), (8, 16), (31, 32))),
        fine("zero subclusters", bitmap(0xFFFF0000_0000FFFF), disk((0, 16))),
        fine("reserved zero flag", bitmap(0xFFFFFFFF, COPIED | ZERO), disk((0, 32))),
        bad("subcluster allocated and zero", bitmap(0x80000000_80000000), table),
        bad("subclusters allocated without an offset", _EXTENDED.but(clusters={1: Entry(0, 1)}), table),
        fine("zero subclusters without an offset", _EXTENDED.but(clusters={1: Entry(0, 0xFFFFFFFF << 32)}), disk()),
        bad("unaligned without subclusters", _EXTENDED.but(clusters={1: Entry(data_offset + 512, 0)}), table),
        fine("offset past the end without subclusters", _EXTENDED.but(clusters={1: Entry(1 << 40, 0)}), disk()),
        bad(
            "offset past the end with a subcluster",
            _EXTENDED.but(clusters={1: Entry(1 << 40, 1)}),
            RefusalCode.TRUNCATED,
            qemu_converts=True,
        ),
        bad(
            "broken subcluster beyond the disk, in its last cluster",
            _EXTENDED.but(clusters={0: Data(_BIG, COPIED, 0x80000000_80000001)}).with_fields(size=512),
            table,
        ),
        fine(
            "file ends in a subcluster",
            cut[: -16384 + 700],
            disk((0, 1))[: 16384 + 512] + _BIG[512:700] + bytes(7 * 16384 - 700),
        ),
        fine(
            "bitmap of a compressed cluster",
            _packed_with_bitmap(),
            disk_of((1, _text(16384)), size=8 * 16384, cluster_size=16384),
        ),
    ]


def _text(size: int) -> bytes:
    return (TEXT * (size // len(TEXT) + 1))[:size]


def _packed_with_bitmap() -> bytes:
    image = _EXTENDED.but(clusters={1: Packed(deflate(_text(16384)))})
    written = bytearray(image.write())
    place = image.l2_offset + 16 + 8
    written[place : place + 8] = b"\xff" * 8
    return bytes(written)


CASES = [*_tables(), *_subclusters()]
