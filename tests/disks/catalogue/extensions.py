"""Header extensions, backing files and data files."""

import struct

from manifest_service.errors import RefusalCode
from tests.disks.catalogue.case import CLUSTER, PLAIN, Case, bad, fine
from tests.disks.qcow2_writer import Image, extension


def _bitmaps(data: bytes) -> bytes:
    return extension(0x23852875, data)


def _extensions() -> list[Case]:
    header = RefusalCode.CORRUPT_HEADER

    def extended(*extensions: bytes) -> Image:
        return PLAIN.but(extensions=b"".join(extensions))

    unknown = extension(0x12345678, b"hello")
    endless = extension(0x12345678, bytes(CLUSTER - 112 - 8))
    names = extension(0x6803F857, bytes([0, 5]) + b"\x1b[31mowned\x1b[0m".ljust(46, b"\0"))
    bitmaps = struct.pack(">IIQQ", 1, 0, 32, CLUSTER)
    return [
        fine("unknown extensions", extended(unknown, unknown)),
        fine("no end of extensions", extended(endless)),
        bad("extension past its area", extended(struct.pack(">II", 0x12345678, CLUSTER)), header),
        bad("extension of 4 GiB", extended(struct.pack(">II", 0x12345678, 2**32 - 1)), header),
        bad("end of extensions past their area", extended(struct.pack(">II", 0, CLUSTER)), header),
        bad("extension header across the end", PLAIN.with_fields(length=CLUSTER - 4), header),
        fine("backing format without backing file", extended(extension(0xE2792ACA, b"a" * 15))),
        bad("backing format of 16 bytes", extended(extension(0xE2792ACA, b"a" * 16)), header),
        bad("encryption header without encryption", extended(extension(0x0537BE77, bytes(16))), header),
        fine("data file's name without a data file", extended(extension(0x44415441, b"/etc/passwd"))),
        bad(
            "data file",
            extended(extension(0x44415441, b"/etc/passwd")).with_fields(incompatible=4),
            RefusalCode.DATA_FILE,
            qemu_converts=None,
        ),
        bad("data file without a name", PLAIN.with_fields(incompatible=4), RefusalCode.DATA_FILE),
        bad(
            "unknown feature with escape sequences in its name",
            extended(names).with_fields(incompatible=32),
            RefusalCode.UNSUPPORTED_FEATURE,
        ),
        *(bad(f"bitmaps extension of {n} bytes", extended(_bitmaps(bytes(n))), header) for n in (0, 23, 25)),
        fine("bitmaps that are not valid any more", extended(_bitmaps(bitmaps))),
        fine("backing file's name is empty", PLAIN.but(backing_name=b"")),
        fine("backing file's name starts with NUL", PLAIN.but(backing_name=b"\0/etc/passwd")),
        fine("backing file's size without an offset", PLAIN.with_fields(backing_size=2**32 - 1)),
        bad("backing file's name outside", PLAIN.with_fields(backing_offset=CLUSTER + 1, backing_size=1), header),
        bad("backing file's name too long", PLAIN.but(backing_name=b"a" * 1024), header),
        bad("backing file's name across the cluster", PLAIN.with_fields(backing_offset=4000, backing_size=97), header),
        *(
            bad(f"backing file {name!r}", PLAIN.but(backing_name=name), RefusalCode.BACKING_FILE, qemu_converts=None)
            for name in (b"base.raw", b"/etc/passwd", b'json:{"driver":"null-co"}', b"nbd:127.0.0.1:1", b"\xff\x1b[0m")
        ),
    ]


CASES = [*_extensions()]
