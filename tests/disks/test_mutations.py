"""Images with random damage in header and tables: where the project gives a digest, qemu-img gives the same one.

Where it refuses, qemu-img must refuse too, unless the rule is the project's own: see `_OUR_RULES`. Each seed is a few
images. QCOW2_SEEDS=1000-2000 tries others than the usual ones.
"""

import os
import random
from pathlib import Path

import pytest

from manifest_service.disks.limits import MIB, Limits
from manifest_service.errors import RefusalCode
from tests import qemu
from tests.disks.catalogue.case import CLUSTER, FIRST, PLAIN, SECOND, TEXT
from tests.disks.qcow2_writer import EXTENDED_L2, HEADER_FIELDS, ZSTD, Data, Entry, Image, Packed, deflate, extension
from tests.disks.sources import BytesSource, verdict

_FIRST, _END = (int(number) for number in os.environ.get("QCOW2_SEEDS", "0-25").split("-"))
_ROUNDS = 8

_OUR_RULES = {
    RefusalCode.BACKING_FILE,  # qemu-img would look for it
    RefusalCode.DATA_FILE,
    RefusalCode.TRUNCATED,  # qemu-img reads zeros
    RefusalCode.VIRTUAL_SIZE_LIMIT,
}

_WORDS = [0, 1, 2, 3, 8, 0x1FF, 0x200, 0xFFF, CLUSTER, 2 * CLUSTER, 1 << 31, 1 << 32, 1 << 62, 1 << 63, 2**64 - 1]

_BASES = [
    PLAIN.but(clusters={**PLAIN.clusters, 7: Entry(1), 8: Entry(PLAIN.data_offset | 1)}),
    PLAIN.but(version=2),
    PLAIN.but(extensions=extension(1, b"some text") + extension(0xE2792ACA, b"raw") + bytes(8)),
    Image(
        {1: Data(FIRST * 4), 2: Data(SECOND * 4, bitmap=0xF0F0), 3: Packed(deflate(TEXT * 4))},
        size=1 << 17,
        cluster_bits=14,
        incompatible=EXTENDED_L2,
    ),
    PLAIN.but(clusters={1: Data(FIRST), 2: Entry(0)}, incompatible=ZSTD),
    PLAIN.but(tail=bytes(64)).with_fields(snapshots=1, snapshots_offset=PLAIN.but(tail=b"x").tail_offset),
]


@pytest.mark.parametrize("seed", range(_FIRST, _END))
def test_damaged_image_is_refused_or_read_as_qemu_reads_it(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = tmp_path / "image.qcow2"
    for _ in range(_ROUNDS):
        image = _damage(rng, rng.choice(_BASES))
        found = verdict(BytesSource(image), Limits(virtual_size=16 * MIB))
        if found in _OUR_RULES:
            continue
        path.write_bytes(image)
        try:
            expected = qemu.sha256_of_disk(path)
        except qemu.QemuError:
            assert len(found) != 64, "qemu-img refuses what the project gives a digest of"
        else:
            assert found == expected


def _damage(rng: random.Random, base: Image) -> bytes:
    image = bytearray(base.write())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        damage = rng.randrange(4)
        if damage == 0:
            offset, size = rng.choice(list(HEADER_FIELDS.values())[1:])
            value = rng.choice([*_WORDS, rng.getrandbits(64), len(image)]) & ((1 << 8 * size) - 1)
        elif damage == 1:
            offset, size = rng.randrange(112), 1
            value = image[offset] ^ 1 << rng.randrange(8)
        elif damage == 2:
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
