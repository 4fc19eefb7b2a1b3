"""Random images as qemu makes them: every option that affects where data lies, written to in random order."""

import random
import struct
from pathlib import Path

from tests import qemu

_KIB = 1024


def make_image(rng: random.Random, folder: Path) -> Path:
    """Make one qcow2 image in `folder`; the same state of `rng` makes the same image."""
    path = folder / "image.qcow2"
    cluster_size = 1 << rng.randint(9, 21)
    size = _random_size(rng, cluster_size)
    options = _random_options(rng, cluster_size)
    if rng.random() < 0.4:
        _convert(rng, folder, path, size, options)
    else:
        qemu.create(path, size, [*options, *_random_preallocation(rng)])
    for _ in range(rng.randint(0, 2)):
        qemu.io(path, _random_commands(rng, size, cluster_size))
        if rng.random() < 0.3:
            qemu.img("snapshot", "-c", f"snapshot {rng.random()}", path)
    if "compat=1.1" in options and rng.random() < 0.2:
        qemu.img("bitmap", "--add", "-f", "qcow2", path, "bitmap")
    if rng.random() < 0.3:
        _make_size_odd(rng, path)
    return path


def _random_size(rng: random.Random, cluster_size: int) -> int:
    """A size of a few clusters and some sectors, seldom of several L2 tables."""
    clusters = rng.choice([1, 5, 40, cluster_size // 8 + 3])
    return max(512, min(clusters * cluster_size + rng.choice([-512, 0, 512]), 24 * _KIB * _KIB))


def _random_options(rng: random.Random, cluster_size: int) -> list[str]:
    options = [f"cluster_size={cluster_size}"]
    if rng.random() < 0.25:
        return [*options, "compat=0.10"]
    options.append("compat=1.1")
    if cluster_size >= 16 * _KIB and rng.random() < 0.5:
        options.append("extended_l2=on")
    options.append(f"compression_type={rng.choice(['zlib', 'zstd'])}")
    options.append(f"refcount_bits={rng.choice([8, 16, 64])}")
    return options


def _random_preallocation(rng: random.Random) -> list[str]:
    return rng.choice([[], [], ["preallocation=metadata"], ["preallocation=falloc"], ["preallocation=full"]])


def _convert(rng: random.Random, folder: Path, path: Path, size: int, options: list[str]) -> None:
    raw = folder / "content.raw"
    with raw.open("wb") as file:
        file.truncate(size)
        for _ in range(rng.randint(0, 12)):
            file.seek(rng.randrange(size))
            file.write(_random_bytes(rng, min(size - file.tell(), rng.choice([100, 70_000, 700_000]))))
    arguments = [argument for argument in ("-c", "-W", "-S0") if rng.random() < 0.5]
    qemu.convert(raw, path, options, arguments=arguments)
    raw.unlink()


def _random_bytes(rng: random.Random, length: int) -> bytes:
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(length)
    if kind == 1:
        return (rng.randbytes(3000) * (length // 3000 + 1))[:length]
    return bytes(rng.choices(b"abcdefgh", k=300)) * (length // 300)


def _random_commands(rng: random.Random, size: int, cluster_size: int) -> list[str]:
    commands = []
    for _ in range(rng.randint(1, 12)):
        offset = rng.randrange(size) // 512 * 512
        length = min(size - offset, rng.choice([512, cluster_size // 2, cluster_size, 5 * cluster_size]) // 512 * 512)
        cluster = offset // cluster_size * cluster_size
        whole = min(size // 512 * 512 - cluster, cluster_size)
        commands.append(
            rng.choice([
                f"write -P {rng.randint(1, 255)} {offset} {length or 512}",
                f"write -c -P {rng.randint(1, 255)} {cluster} {whole}",
                f"write -z {offset} {length or 512}",
                f"write -zu {offset} {length or 512}",
                f"discard {cluster} {whole}",
            ])
        )  # fmt: skip
    return commands


def _make_size_odd(rng: random.Random, path: Path) -> None:
    """Give the image a size that is no multiple of a sector, which no tool of qemu does."""
    with path.open("r+b") as file:
        file.seek(24)
        (size,) = struct.unpack(">Q", file.read(8))
        file.seek(24)
        file.write(struct.pack(">Q", max(size - rng.randint(1, 600), 512)))
