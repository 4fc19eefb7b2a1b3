"""The images that are measured: made once from this machine's own programs, and kept in the user's cache folder.

A root file system is what most images hold: programs, libraries, text, and free space that was never written.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifest_service.disks.limits import MIB

GIB = 1 << 30
ROOT_SIZE = 4 * GIB
"""Bytes of the root file system's disk."""
ROOT_CONTENT = 2 * GIB
"""About how many bytes of files are in it."""
FULL_SIZE = 2 * GIB
DENSE_SIZE = 2 * GIB
SPARSE_SIZE = 100 * GIB
SPARSE_PIECE = 256 * 1024
SPARSE_PIECES = 800
"""200 MiB of data in pieces all over 100 GiB."""
BASE_SIZE = 10 * GIB
BASE_PIECES = 6144
"""1.5 GiB of data in pieces all over 10 GiB."""

_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share")


@dataclass(frozen=True)
class BenchImage:
    """An image to measure. options: qemu-img's for making it from its raw disk."""

    name: str
    title: str
    disk: str
    options: tuple[str, ...]


IMAGES = (
    BenchImage("root", "root file system, uncompressed", "root", ()),
    BenchImage("root-zlib", "root file system, zlib, clusters of 64 KiB", "root", ("-c",)),
    BenchImage(
        "root-zstd", "root file system, zstd, clusters of 64 KiB", "root", ("-c", "-o", "compression_type=zstd")
    ),
    BenchImage("root-zlib-4k", "root file system, zlib, clusters of 4 KiB", "root", ("-c", "-o", "cluster_size=4k")),
    BenchImage(
        "root-zstd-4k",
        "root file system, zstd, clusters of 4 KiB",
        "root",
        ("-c", "-o", "compression_type=zstd,cluster_size=4k"),
    ),
    BenchImage("full-zlib", "its first 2 GiB, nearly all data, zlib, clusters of 64 KiB", "full", ("-c",)),
    BenchImage("full-zstd", "its first 2 GiB, zstd, clusters of 64 KiB", "full", ("-c", "-o", "compression_type=zstd")),
    BenchImage("full-zlib-4k", "its first 2 GiB, zlib, clusters of 4 KiB", "full", ("-c", "-o", "cluster_size=4k")),
    BenchImage(
        "full-zstd-4k",
        "its first 2 GiB, zstd, clusters of 4 KiB",
        "full",
        ("-c", "-o", "compression_type=zstd,cluster_size=4k"),
    ),
    BenchImage("dense", "dense (no zeros), uncompressed", "dense", ()),
    BenchImage("sparse", "100 GiB with 200 MiB of data", "sparse", ()),
)


def cache_folder() -> Path:
    """Where the images are kept, some GiB of them."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "manifest-service" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_image(image: BenchImage) -> Path:
    """The file of an image, made where it is not there yet."""
    made = cache_folder() / f"{image.name}.qcow2"
    if not made.exists():
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *image.options, str(make_disk(image.disk))]
        _atomically(made, lambda path: _run([*convert, str(path)]))
    return made


def make_disk(name: str) -> Path:
    """A raw disk, made where it is not there yet."""
    disk = cache_folder() / f"{name}.raw"
    if not disk.exists():
        _atomically(disk, _DISKS[name])
    return disk


def _make_root(path: Path) -> None:
    """An ext4 root file system with what this machine's /usr holds, in the order of its names, up to a bound."""
    tree = path.parent / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    left = ROOT_CONTENT
    for top in _PROGRAMS:
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                source = Path(folder, name)
                if source.is_symlink() or not source.is_file() or source.stat().st_size > left:
                    continue
                left -= source.stat().st_size
                target = tree / source.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    with path.open("wb") as file:
        file.truncate(ROOT_SIZE)
    _run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(path)])
    shutil.rmtree(tree)


def _make_full(path: Path) -> None:
    """The first part of the root file system's disk, where its files lie."""
    root = path.parent / "root.raw"
    if not root.exists():
        _atomically(root, _make_root)
    with root.open("rb") as source, path.open("wb") as file:
        for _ in range(FULL_SIZE // MIB):
            file.write(source.read(MIB))


def _make_dense(path: Path) -> None:
    """Bytes that do not compress, and no zeros."""
    chance = random.Random(1)
    with path.open("wb") as file:
        for _ in range(DENSE_SIZE // MIB):
            file.write(chance.randbytes(MIB))


def _make_sparse(path: Path) -> None:
    _make_scattered(path, SPARSE_SIZE, SPARSE_PIECES)


def _make_base(path: Path) -> None:
    _make_scattered(path, BASE_SIZE, BASE_PIECES)


def _make_scattered(path: Path, size: int, pieces: int) -> None:
    """Pieces of data all over a disk of `size` bytes, and holes between them."""
    chance = random.Random(2)
    places = chance.sample(range(size // SPARSE_PIECE), pieces)
    with path.open("wb") as file:
        for place in places:
            file.seek(place * SPARSE_PIECE)
            file.write(chance.randbytes(SPARSE_PIECE))
        file.truncate(size)


_DISKS: dict[str, Callable[[Path], None]] = {
    "root": _make_root,
    "full": _make_full,
    "dense": _make_dense,
    "sparse": _make_sparse,
    "base": _make_base,
}


def _atomically(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file under another name first, so that one which is there is whole."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    make(part)
    part.rename(path)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
