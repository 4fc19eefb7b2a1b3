"""The kinds of images that are uploaded, and what must become of each: computed once, by qemu-img and hashlib."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests import qemu

VARIANTS = 3
"""Different images of each kind: a digest that belongs to another image is then noticed."""
_BLOCK = 64 << 10


class Place(Enum):
    """Which store has the bytes."""

    FILE = "file"
    WEB = "web server"
    SLOW_WEB = "slow web server, without ranges"


class Event(Enum):
    """What happens to an image beside its upload."""

    NOTHING = "nothing"
    LATE = "its bytes come after the notifications, as Glance's commit may"
    REPLACED = "its bytes are replaced in the store before they are read"
    DELETED = "it is deleted at any moment"
    DELETED_WHILE_READ = "it is deleted while a worker reads it"


@dataclass(frozen=True)
class Kind:
    """A kind of image. status, code: what it must end as. weight: how often it comes, against the others."""

    name: str
    make: Callable[[Path, Path], None]
    disk_format: str = "qcow2"
    container_format: str = "bare"
    place: Place = Place.FILE
    event: Event = Event.NOTHING
    status: str = "ready"
    code: str | None = None
    weight: int = 1


@dataclass(frozen=True)
class Sample:
    """One image of a kind, made. path: its bytes. digest: SHA-256 of its disk, where it must have one."""

    kind: Kind
    path: Path
    size: int
    md5: str
    sha512: str
    digest: str | None


def make_samples(folder: Path) -> Sequence[Sample]:
    """Make all samples, with the digests that qemu-img's conversion has."""
    folder.mkdir()
    samples = []
    for number, kind in enumerate(KINDS):
        for variant in range(VARIANTS):
            raw, path = folder / "disk", folder / f"{number}-{variant}"
            _write_disk(raw, random.Random(f"{number} {variant}"))
            kind.make(raw, path)
            data = path.read_bytes()
            wanted = kind.status in {"ready", "deleted"}
            digest = qemu.sha256_of_disk(path, _DRIVERS.get(kind.disk_format, kind.disk_format)) if wanted else None
            md5 = hashlib.md5(data).hexdigest()
            samples.append(Sample(kind, path, len(data), md5, hashlib.sha512(data).hexdigest(), digest))
    return samples


def _write_disk(path: Path, rng: random.Random) -> None:
    """A disk of 0.5 to 3 MiB: text that compresses, noise that does not, and zeros."""
    blocks = [
        rng.choice([bytes(_BLOCK), rng.randbytes(_BLOCK), rng.randbytes(64) * (_BLOCK // 64)])
        for _ in range(rng.randrange(8, 48))
    ]
    path.write_bytes(b"".join([*blocks, rng.randbytes(_BLOCK)]))


def _plain(raw: Path, path: Path) -> None:
    qemu.convert(raw, path)


def _zlib(raw: Path, path: Path) -> None:
    qemu.convert(raw, path, arguments=["-c"])


def _zstd(raw: Path, path: Path) -> None:
    qemu.convert(raw, path, ["compression_type=zstd"], arguments=["-c"])


def _raw(raw: Path, path: Path) -> None:
    path.write_bytes(raw.read_bytes())


def _vdi(raw: Path, path: Path) -> None:
    qemu.img("convert", "-f", "raw", "-O", "vdi", raw, path)


def _tables_behind(raw: Path, path: Path) -> None:
    """Resized in place: its L1 table moves behind the data, so that a stream of it must be kept whole."""
    qemu.convert(raw, path)
    qemu.img("resize", "-q", path, "16G")
    qemu.img("resize", "-q", "--shrink", path, raw.stat().st_size)


def _backed(raw: Path, path: Path) -> None:
    qemu.img("create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", path)


def _truncated(raw: Path, path: Path) -> None:
    qemu.convert(raw, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


_DRIVERS = {"ami": "raw"}

KINDS: Sequence[Kind] = (
    Kind("qcow2, zlib", _zlib, weight=8),
    Kind("qcow2, zstd", _zstd, weight=6),
    Kind("qcow2, uncompressed", _plain, weight=6),
    Kind("raw", _raw, disk_format="raw", weight=6),
    Kind("vdi, through qemu-img and scratch", _vdi, disk_format="vdi", weight=4),
    Kind("qcow2 on a web server", _zlib, place=Place.WEB, weight=6),
    Kind("raw on a slow web server", _raw, disk_format="raw", place=Place.SLOW_WEB, weight=8),
    Kind("qcow2 on a slow web server", _zlib, place=Place.SLOW_WEB, weight=8),
    Kind("qcow2 with its tables behind, streamed through scratch", _tables_behind, place=Place.SLOW_WEB, weight=8),
    Kind("qcow2 whose bytes come late", _zstd, event=Event.LATE, weight=4),
    Kind("qcow2 with a backing file", _backed, status="refused", code="backing-file", weight=3),
    Kind("qcow2 that is cut", _truncated, status="refused", code="truncated", weight=3),
    Kind("qcow2 as raw", _plain, disk_format="raw", status="refused", code="format-mismatch", weight=3),
    Kind("raw as qcow2", _raw, status="refused", code="format-mismatch", weight=3),
    Kind("in an ovf", _plain, container_format="ovf", status="refused", code="unsupported-container", weight=2),
    Kind(
        "qcow2 replaced in the store", _plain, event=Event.REPLACED, status="failed", code="source-mismatch", weight=5
    ),
    Kind("qcow2 deleted at any moment", _zlib, event=Event.DELETED, status="deleted", weight=4),
    Kind(
        "qcow2 deleted while it is read",
        _zlib,
        place=Place.SLOW_WEB,
        event=Event.DELETED_WHILE_READ,
        status="deleted",
        weight=4,
    ),
)
