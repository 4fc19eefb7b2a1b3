"""Damage to images in header and tables, and the judgement of what the project makes of such an image."""

import random
from pathlib import Path

import zstandard

from manifest_service.disks.limits import MIB, Limits
from manifest_service.errors import RefusalCode
from tests import qemu
from tests.disks.catalogue.case import CLUSTER, END, FIRST, PLAIN, SECOND, TEXT
from tests.disks.qcow2_writer import EXTENDED_L2, HEADER_FIELDS, ZSTD, Data, Entry, Image, Packed, deflate, extension
from tests.disks.sources import BytesSource, verdict

OUR_RULES = {
    RefusalCode.BACKING_FILE,  # qemu-img would look for it
    RefusalCode.DATA_FILE,
    RefusalCode.TRUNCATED,  # qemu-img reads zeros
    RefusalCode.VIRTUAL_SIZE_LIMIT,
}
"""Where we refuse and qemu-img need not."""

_LIMITS = Limits(virtual_size=16 * MIB)

_WORDS = [0, 1, 2, 3, 8, 0x1FF, 0x200, 0xFFF, CLUSTER, 2 * CLUSTER, 1 << 31, 1 << 32, 1 << 62, END, 1 << 63, 2**64 - 1]

BASES = [
    PLAIN.but(clusters={**PLAIN.clusters, 7: Entry(1), 8: Entry(PLAIN.data_offset | 1)}),
    PLAIN.but(version=2),
    PLAIN.but(extensions=extension(1, b"some text") + extension(0xE2792ACA, b"raw") + bytes(8)),
    Image(
        {1: Data(FIRST * 4), 2: Data(SECOND * 4, bitmap=0xF0F0), 3: Packed(deflate(TEXT * 4))},
        size=1 << 17,
        cluster_bits=14,
        incompatible=EXTENDED_L2,
    ),
    PLAIN.but(
        clusters={1: Data(FIRST), 2: Entry(0), 3: Packed(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))},
        incompatible=ZSTD,
    ),
    PLAIN.but(tail=bytes(64)).with_fields(snapshots=1, snapshots_offset=PLAIN.but(tail=b"x").tail_offset),
]


def judge(image: bytes, folder: Path) -> str:
    """Hold our answer against qemu-img's: the same digest, or a refusal by both, or by a rule of our own.

    folder: for the image as a file. Returns our answer: a digest or the code of a refusal. Raises AssertionError.
    """
    found = verdict(BytesSource(image), _LIMITS)
    if found in OUR_RULES:
        return found
    path = folder / "image.qcow2"
    path.write_bytes(image)
    try:
        expected = qemu.sha256_of_disk(path)
    except qemu.QemuError:
        assert len(found) != 64, "qemu-img refuses what the project gives a digest of"
    else:
        assert found == expected, f"qemu-img reads {expected}, the project says {found}"
    return found


def damage(rng: random.Random, base: Image) -> bytes:
    """Write an image with up to three wrong values."""
    image = bytearray(base.write())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.randrange(4)
        if kind == 0:
            offset, size = rng.choice(list(HEADER_FIELDS.values())[1:])
            value = rng.choice([*_WORDS, rng.getrandbits(64), len(image)]) & ((1 << 8 * size) - 1)
        elif kind == 1:
            offset, size = rng.randrange(112), 1
            value = image[offset] ^ 1 << rng.randrange(8)
        elif kind == 2:
            # An L1 entry or an L2 entry gets another word, or a bit of it.
            place = rng.choice([base.l1_offset, base.l2_offset + rng.randrange(20) * 8])
            offset, size = place, 8
            bits = int.from_bytes(image[place : place + 8], "big") ^ 1 << rng.randrange(64)
            value = rng.choice([*_WORDS, bits, base.data_offset, base.data_offset | 1, base.l2_offset])
        else:
            offset, size = rng.randrange(len(image)), 1
            value = rng.getrandbits(8)
        image[offset : offset + size] = value.to_bytes(size, "big")
    return bytes(image)
