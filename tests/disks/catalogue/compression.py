"""Compressed clusters."""

import random
import struct

import zstandard

from manifest_service.errors import RefusalCode
from tests.disks.catalogue.case import (
    CLUSTER,
    FIRST,
    PLAIN,
    SECOND,
    SIZE,
    TEXT,
    Case,
    bad,
    disk_of,
    fine,
)
from tests.disks.qcow2_writer import (
    COMPRESSED,
    ZSTD,
    Entry,
    Image,
    Packed,
    deflate,
)


def _stored_block(data: bytes, *, last: bool) -> bytes:
    """A deflate block that is not compressed."""
    return bytes([last]) + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def _deflate() -> list[Case]:
    corrupt, truncated = RefusalCode.CORRUPT_DATA, RefusalCode.TRUNCATED

    def packed(stream: bytes, further_sectors: int = 0, before: bytes = b"") -> Image:
        clusters = {2: Packed(stream, further_sectors)}
        return PLAIN.but(clusters={**clusters, **({0: Packed(before)} if before else {})})

    def followed(stream: bytes) -> Image:
        return packed(stream).but(tail=b"other bytes, so that the file does not end in a stream's last sector")

    good = deflate(TEXT)
    noise = random.Random("e").randbytes(3000)
    far = Image({0: Packed(deflate(noise + bytes(27000) + noise + bytes(65536 - 33000), 15))}, 65536, 16)
    disk = disk_of((2, TEXT))
    end = 2 * CLUSTER + 512
    endless = _stored_block(FIRST, last=False)
    # So many bytes that after them and the endless block, of 4,101 bytes, a sector ends: nothing follows.
    before = deflate(bytes(CLUSTER)).ljust(507, b"x")
    short = followed(deflate(TEXT[:-1]))
    incomplete = packed(deflate(FIRST)).write()[:-1000]
    filled_up = packed(_stored_block(TEXT, last=True)).write()[:-100]
    return [
        fine("compressed", packed(good), disk),
        fine("compressed at an odd offset", packed(good, before=deflate(bytes(CLUSTER)) + b"x"), disk),
        fine("compressed, claiming sectors past the end", packed(good, further_sectors=12), disk),
        fine("compressed, other bytes after it", packed(good + noise), disk),
        fine("compressed cluster that is not compressed", packed(_stored_block(TEXT, last=True)), disk),
        fine("compressed, more than a cluster", packed(deflate(TEXT + TEXT)), disk),
        fine("compressed, far more than a cluster", packed(deflate(bytes(1 << 24))), bytes(SIZE)),
        fine("compressed, distances over 4 KiB", far, noise + bytes(27000) + noise + bytes(65536 - 33000)),
        fine("compressed, cut when the cluster is full", packed(endless, before=before), disk_of((2, FIRST))),
        bad("compressed, invalid block after a full cluster", followed(endless + b"\x07"), corrupt),
        bad("compressed, too little", short, corrupt),
        bad("compressed, nothing", followed(deflate(b"")), corrupt),
        bad("compressed, invalid", followed(b"\x07" * 100), corrupt),
        bad("compressed, in too few sectors", packed(_stored_block(FIRST, last=True), further_sectors=-2), corrupt),
        bad("compressed, incomplete at the file's end", incomplete, truncated, qemu_converts=None),
        bad("compressed, filled up by zeros past the file's end", filled_up, truncated, qemu_converts=True),
        bad("compressed, going on in zeros past the file's end", packed(endless), truncated),
        bad("compressed, past the end", PLAIN.but(clusters={2: Entry(COMPRESSED | 1 << 40)}), truncated),
        bad("compressed, at the last offset", PLAIN.but(clusters={2: Entry(COMPRESSED | (1 << 58) - 1)}), truncated),
        bad("compressed, short at the end of the disk", short.with_fields(size=end), corrupt),
        fine("compressed, at the end of the disk", packed(good).with_fields(size=end), disk[:end]),
    ]


def _frame(data: bytes, *, checksum: bool = False, content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=content_size).compress(data)


def _raw_frame(
    data: bytes, *, window_log: int, content_size: int | None = None, dictionary: int | None = None
) -> bytes:
    """A zstd frame of one raw block, with a header of our choice."""
    descriptor = (0x80 if content_size is not None else 0) | (1 if dictionary is not None else 0)
    header = bytes([descriptor, (window_log - 10) << 3])
    header += b"" if dictionary is None else bytes([dictionary])
    header += b"" if content_size is None else struct.pack("<I", content_size)
    block = (1 | len(data) << 3).to_bytes(3, "little") + data
    return b"\x28\xb5\x2f\xfd" + header + block


def _zstd() -> list[Case]:
    corrupt = RefusalCode.CORRUPT_DATA
    image = PLAIN.but(incompatible=ZSTD)

    def packed(stream: bytes) -> Image:
        # What comes after the stream lies in the file, as it does in a real image.
        return image.but(clusters={2: Packed(stream), 3: Packed(_frame(bytes(CLUSTER))), 4: Packed(_frame(SECOND))})

    one, two = _frame(TEXT[:1000]), _frame(TEXT[1000:])
    skippable = struct.pack("<II", 0x184D2A53, 9) + b"skip this"
    checked = _frame(TEXT, checksum=True)
    disk = disk_of((2, TEXT), (4, SECOND))
    half = _frame(TEXT[:1000])[:-4]
    liar = bytearray(_raw_frame(b"x" * 10, window_log=10, content_size=0))
    return [
        fine("zstd", packed(_frame(TEXT)), disk),
        fine("zstd without content size", packed(_frame(TEXT, content_size=False)), disk),
        fine("zstd, two frames", packed(one + two), disk),
        fine("zstd, skippable and empty frames", packed(skippable + one + _frame(b"") + skippable + two), disk),
        fine("zstd, checksum", packed(checked), disk),
        fine("zstd, other bytes after it", packed(_frame(TEXT) + b"\x01\x02\x03"), disk),
        fine("zstd, incompressible", packed(_frame(FIRST)), disk_of((2, FIRST), (4, SECOND))),
        fine("zstd, window of 2^27", packed(_raw_frame(TEXT, window_log=27)), disk),
        fine("zstd, window of 2^28, known size", packed(_raw_frame(TEXT, window_log=28, content_size=CLUSTER)), disk),
        bad("zstd, window of 2^28", packed(_raw_frame(TEXT, window_log=28)), corrupt),
        bad("zstd, dictionary", packed(_raw_frame(TEXT, window_log=10, dictionary=5)), corrupt),
        bad("zstd, checksum wrong", packed(checked[:-1] + bytes([checked[-1] ^ 1])), corrupt),
        bad("zstd, too little", packed(_frame(TEXT[:-1])), corrupt),
        bad("zstd, too much", packed(_frame(TEXT + b"x")), corrupt),
        bad("zstd, too much without content size", packed(_frame(TEXT + b"x", content_size=False)), corrupt),
        bad("zstd, far too much", packed(_frame(bytes(1 << 24))), corrupt),
        bad("zstd, too much in the second frame", packed(one + _frame(TEXT)), corrupt),
        bad("zstd, garbage after the first frame", packed(one + b"\x01\x02\x03\x04" + two), corrupt),
        bad("zstd, frame cut in the middle", packed(half + two), corrupt),
        bad("zstd, content size wrong", packed(bytes(liar) + _frame(TEXT)), corrupt),
        bad("zstd, deflate instead", packed(deflate(TEXT)), corrupt),
        bad("zstd, skippable frame past the end", packed(struct.pack("<II", 0x184D2A53, 2**32 - 1)), corrupt),
        bad(
            "zstd, cut by the end of the file",
            image.but(clusters={2: Packed(checked)}).write()[:-2],
            RefusalCode.TRUNCATED,
        ),
    ]


CASES = [*_deflate(), *_zstd()]
