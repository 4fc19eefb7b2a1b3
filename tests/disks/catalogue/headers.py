"""Headers, and the sizes they claim."""

from manifest_service.errors import RefusalCode
from tests.disks.catalogue.case import CLUSTER, END, PLAIN, PLAIN_DISK, SIZE, Case, bad, fine
from tests.disks.qcow2_writer import EXTENDED_L2, ZSTD


def _header() -> list[Case]:
    header, feature = RefusalCode.CORRUPT_HEADER, RefusalCode.UNSUPPORTED_FEATURE
    with_ = PLAIN.with_fields
    version_2 = PLAIN.but(version=2)
    nothing = PLAIN.but(clusters={}, size=0)
    return [
        fine("plain", PLAIN),
        fine("version 2", version_2),
        bad("magic", with_(magic=0x514649FA), RefusalCode.FORMAT_MISMATCH),
        bad("version 0", with_(version=0), feature),
        bad("version 1", with_(version=1), RefusalCode.FORMAT_MISMATCH),
        bad("version 4", with_(version=4), feature),
        *(bad(f"cluster bits {n}", with_(cluster_bits=n), header) for n in (0, 8, 22, 2**32 - 1)),
        *(bad(f"header length {n}", with_(length=n), header) for n in (0, 72, 103, 4097)),
        *(fine(f"header length {n}", with_(length=n)) for n in (104, 105, 109, 112, 120, 4096)),
        bad("compression type 2", with_(compression_type=2), feature),
        bad("zstd without its feature bit", with_(compression_type=1), header),
        bad("zlib with the feature bit of others", with_(incompatible=ZSTD), header),
        fine("compression type after the header's end", with_(compression_type=1, length=104)),
        *(bad(f"incompatible bit {n}", with_(incompatible=1 << n), feature) for n in (5, 6, 32, 63)),
        fine("marked dirty", with_(incompatible=1)),
        fine("marked corrupt", with_(incompatible=2)),
        fine("all compatible bits", with_(compatible=2**64 - 1)),
        fine("unknown autoclear bits", with_(autoclear=2**64 - 4)),
        fine("autoclear bit of bitmaps without bitmaps", with_(autoclear=1)),
        bad("raw data file without a data file", with_(autoclear=2), header),
        bad("subclusters in small clusters", with_(incompatible=EXTENDED_L2), header),
        bad("reference counts of 128 bits", with_(refcount_order=7), header),
        fine("reference counts of 1 bit", with_(refcount_order=0)),
        fine("reference counts of 64 bits", with_(refcount_order=6)),
        bad("no refcount table", with_(refcount_clusters=0), header),
        bad("refcount table over 8 MiB", with_(refcount_clusters=2049), header),
        fine("refcount table of 8 MiB", with_(refcount_clusters=2048)),
        bad("refcount table unaligned", with_(refcount_offset=CLUSTER + 8), header),
        fine("refcount table past the end", with_(refcount_offset=1 << 40)),
        fine("refcount table at the last byte that qemu reads", with_(refcount_offset=END - CLUSTER)),
        bad("refcount table beyond what qemu reads", with_(refcount_offset=END), header),
        bad("refcount table that ends there", with_(refcount_offset=END - CLUSTER, refcount_clusters=2), header),
        fine("refcount table at 0", with_(refcount_offset=0)),
        bad("snapshot table of none unaligned", with_(snapshots_offset=512), header),
        bad("too many snapshots", with_(snapshots=65537), header),
        bad("snapshot table beyond numbers", with_(snapshots=1, snapshots_offset=2**64 - CLUSTER), header),
        bad("L1 table over 32 MiB", with_(l1_entries=4194305), header),
        bad("L1 table too small", with_(l1_entries=0), header),
        bad("L1 table unaligned", with_(l1_offset=2 * CLUSTER + 8), header),
        fine("L1 table longer than needed", with_(l1_entries=2)),
        fine("L1 table longer than the file", with_(l1_entries=4194304)),
        bad("L1 table past the end", with_(l1_offset=1 << 32), RefusalCode.TRUNCATED, qemu_converts=True),
        bad("L1 table is the header", with_(l1_offset=0), RefusalCode.TRUNCATED, qemu_converts=True),
        fine("no disk, and L1 table past the end", nothing.with_fields(l1_offset=1 << 32), b""),
        bad("no disk, and L1 table beyond what qemu reads", nothing.with_fields(l1_offset=END, l1_entries=1), header),
        *(bad(f"encryption {n}", with_(crypt_method=n), RefusalCode.ENCRYPTED) for n in (1, 2, 3)),
        bad("encryption in version 2", version_2.with_fields(crypt_method=1), RefusalCode.ENCRYPTED),
        fine("shortest header of version 3", nothing.with_fields(length=104).write()[:104], b""),
        bad("header cut, version 3", nothing.with_fields(length=104).write()[:103], RefusalCode.TRUNCATED),
        fine("shortest header of version 2", nothing.but(version=2).write()[:72], b""),
        bad("header cut, version 2", nothing.but(version=2).write()[:59], RefusalCode.TRUNCATED),
        bad("magic and nothing else", PLAIN.write()[:4], RefusalCode.UNSUPPORTED_FEATURE),
    ]


def _sizes() -> list[Case]:
    limit = RefusalCode.VIRTUAL_SIZE_LIMIT
    return [
        *(fine(f"size {n}", PLAIN.with_fields(size=n), PLAIN_DISK[: n // 512 * 512]) for n in (0, 1, 511, 512, 513)),
        *(
            fine(f"size {n}", PLAIN.with_fields(size=n), PLAIN_DISK[: n // 512 * 512])
            for n in (CLUSTER + 1, 4 * CLUSTER - 1, 4 * CLUSTER - 512, SIZE - 1)
        ),
        *(
            bad(f"size {n}", PLAIN.with_fields(size=n, l1_entries=4194304), limit, qemu_converts=None)
            for n in (2**64 - 1, 2**64 - CLUSTER, 2**63, 2**63 - 512, 2**45)
        ),
    ]


CASES = [*_header(), *_sizes()]
