"""Random images as qemu makes them: every option that affects where data lies, written to in random order."""

import random
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import qemu

_KIB = 1024
SMALLEST_CLUSTER_BITS, LARGEST_CLUSTER_BITS = 9, 21
_SMALLEST_EXTENDED_BITS = 14


@dataclass(frozen=True)
class Recipe:
    """How an image is made.

    converted: from a raw disk with these arguments of `qemu-img convert`; None for one that is created empty, with this
    preallocation, and then written to. snapshots: after how many rounds of writing one is taken. size: bytes of the
    disk. odd_size: the header's size is made no multiple of a sector afterwards, which no tool of qemu does.
    """

    cluster_bits: int
    compat: str
    compression_type: str
    extended_l2: bool
    lazy_refcounts: bool
    refcount_bits: int
    converted: frozenset[str] | None
    preallocation: str
    snapshots: int
    size: int
    odd_size: bool

    def options(self) -> list[str]:
        """For `-o` of qemu-img. The old format has none of the newer features."""
        options = [f"cluster_size={1 << self.cluster_bits}", f"compat={self.compat}"]
        if self.compat != "0.10":
            options += [
                f"compression_type={self.compression_type}",
                f"extended_l2={_on(self.extended_l2)}",
                f"lazy_refcounts={_on(self.lazy_refcounts)}",
                f"refcount_bits={self.refcount_bits}",
            ]
        return options


def make_recipe(seed: int) -> Recipe:
    """The recipe of a seed; seeds that follow each other have clusters of all sizes."""
    rng = random.Random(seed)
    bits = SMALLEST_CLUSTER_BITS + seed % (LARGEST_CLUSTER_BITS - SMALLEST_CLUSTER_BITS + 1)
    modern = rng.random() < 0.8
    converted = rng.random() < 0.4
    return Recipe(
        cluster_bits=bits,
        compat="1.1" if modern else "0.10",
        compression_type=rng.choice(["zlib", "zstd"]) if modern else "zlib",
        extended_l2=modern and bits >= _SMALLEST_EXTENDED_BITS and rng.random() < 0.5,
        lazy_refcounts=modern and rng.random() < 0.3,
        refcount_bits=rng.choice([1, 2, 4, 8, 16, 32, 64]) if modern else 16,
        converted=frozenset(argument for argument in ("-c", "-W", "-S0") if rng.random() < 0.5) if converted else None,
        preallocation="off" if converted else rng.choice(["off", "off", "metadata", "falloc", "full"]),
        snapshots=rng.choice([0, 0, 1, 2]),
        size=_random_size(rng, 1 << bits),
        odd_size=rng.random() < 0.3,
    )


def make_image(seed: int, folder: Path) -> Path:
    """Make the qcow2 image of a seed in `folder`."""
    recipe = make_recipe(seed)
    rng = random.Random(f"content {seed}")
    path = folder / "image.qcow2"
    if recipe.converted is not None:
        _convert(rng, folder, path, recipe, recipe.converted)
    else:
        qemu.create(path, recipe.size, [*recipe.options(), f"preallocation={recipe.preallocation}"])
    _write_and_take_snapshots(rng, path, recipe)
    if recipe.compat == "1.1" and rng.random() < 0.2:
        qemu.img("bitmap", "--add", "-f", "qcow2", path, "bitmap")
    if recipe.odd_size:
        _make_size_odd(rng, path)
    return path


def _write_and_take_snapshots(rng: random.Random, path: Path, recipe: Recipe) -> None:
    for round_ in range(rng.randint(recipe.snapshots, 2)):
        qemu.io(path, _random_commands(rng, recipe.size, 1 << recipe.cluster_bits))
        if round_ < recipe.snapshots:
            _snapshot("-c", f"snapshot {round_}", path)
    if recipe.snapshots:
        qemu.io(path, _random_commands(rng, recipe.size, 1 << recipe.cluster_bits))
        if rng.random() < 0.3:
            _snapshot("-a", "snapshot 0", path)


def _snapshot(action: str, name: str, path: Path) -> None:
    # Narrow reference counts have no room for all the references of a snapshot: there is none, then.
    with suppress(qemu.QemuError):
        qemu.img("snapshot", action, name, path)


def _on(value: bool) -> str:
    return "on" if value else "off"


def _random_size(rng: random.Random, cluster_size: int) -> int:
    """A size of a few clusters and some sectors, seldom of several L2 tables."""
    clusters = rng.choice([1, 5, 40, cluster_size // 8 + 3])
    return max(512, min(clusters * cluster_size + rng.choice([-512, 0, 512]), 24 * _KIB * _KIB))


def _convert(rng: random.Random, folder: Path, path: Path, recipe: Recipe, arguments: frozenset[str]) -> None:
    raw = folder / "content.raw"
    with raw.open("wb") as file:
        file.truncate(recipe.size)
        for _ in range(rng.randint(0, 12)):
            file.seek(rng.randrange(recipe.size))
            file.write(_random_bytes(rng, min(recipe.size - file.tell(), rng.choice([100, 70_000, 700_000]))))
    qemu.convert(raw, path, recipe.options(), arguments=sorted(arguments))
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
