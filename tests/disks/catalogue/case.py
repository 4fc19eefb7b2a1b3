"""What a case is, and the image that most cases are a variation of."""

import random
from dataclasses import dataclass

from manifest_service.errors import RefusalCode
from tests.disks.qcow2_writer import (
    Data,
    Image,
    Packed,
    deflate,
)

CLUSTER = 4096
FIRST, SECOND, THIRD = (random.Random(seed).randbytes(CLUSTER) for seed in "abc")
TEXT = (b"the quick brown fox jumps over the lazy dog. " * 100)[:CLUSTER]
SIZE = 16 * CLUSTER
END = 2**63 - 2**30
"""Byte of a file that qemu reads nothing behind."""


@dataclass(frozen=True)
class Case:
    """One image.

    refused: the code that it is refused with; None where it has a digest, which must be qemu's.
    disk: what the guest sees, where that is known without asking qemu.
    qemu_converts: whether qemu-img does; None to not ask: it would follow a name, take long, or pad what is missing.
    """

    name: str
    image: bytes
    refused: RefusalCode | None = None
    disk: bytes | None = None
    qemu_converts: bool | None = False


def disk_of(*clusters: tuple[int, bytes], size: int = SIZE, cluster_size: int = CLUSTER) -> bytes:
    disk = bytearray(size)
    for index, content in clusters:
        disk[index * cluster_size : index * cluster_size + len(content)] = content
    return bytes(disk[:size])


PLAIN = Image({1: Data(FIRST), 3: Packed(deflate(TEXT)), 5: Data(SECOND), 6: Data(THIRD)}, SIZE, 12)
PLAIN_DISK = disk_of((1, FIRST), (3, TEXT), (5, SECOND), (6, THIRD))


def fine(name: str, image: Image | bytes, disk: bytes | None = PLAIN_DISK) -> Case:
    return Case(name, image if isinstance(image, bytes) else image.write(), None, disk, qemu_converts=True)


def bad(name: str, image: Image | bytes, code: RefusalCode, *, qemu_converts: bool | None = False) -> Case:
    return Case(name, image if isinstance(image, bytes) else image.write(), code, qemu_converts=qemu_converts)
