"""An image with data, zeros and holes, and its disk."""

import random
from pathlib import Path

from tests import qemu

MIB = 1 << 20
SIZE = 24 * MIB
DATA = ((0, 5 * MIB), (9 * MIB, 100_000), (20 * MIB, MIB))
"""(offset, length) of what is not zero in the disk."""


def make_disk(path: Path, seed: int = 1, size: int = SIZE) -> Path:
    """A raw disk."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        for offset, length in DATA:
            file.seek(offset)
            file.write(chance.randbytes(length))
        file.truncate(size)
    return path


def make_image(folder: Path, seed: int = 1, *, compressed: bool = True) -> Path:
    """A qcow2 of that disk."""
    image = folder / f"image-{seed}-{compressed}.qcow2"
    disk = make_disk(folder / f"disk-{seed}", seed)
    qemu.convert(disk, image, arguments=["-c"] if compressed else [])
    disk.unlink()
    return image


def convert(image: Path, path: Path) -> Path:
    """As Nova converts it."""
    qemu.img("convert", "-O", "raw", "-f", "qcow2", image, path)
    return path
