"""qemu-img and qemu-io as tests use them: makers of images, and the oracle that says what a disk holds."""

import hashlib
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers import programs

_TIMEOUT = 120
"""Seconds. Images in tests are small: this only ends what hangs."""


class QemuError(Exception):
    """qemu refused; the message is what it printed."""


def create(path: Path, size: int, options: Iterable[str] = ()) -> None:
    """Create an empty qcow2 image of `size` bytes (rounded up to 512); options as `cluster_size=4096`."""
    _run("qemu-img", "create", "-q", "-f", "qcow2", *_options(options), path, size)


def convert(source: Path, target: Path, options: Iterable[str] = (), *, arguments: Iterable[str] = ()) -> None:
    """Convert raw to qcow2. arguments: further ones, as `-c` or `-W`."""
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *arguments, *_options(options), source, target)


def img(*arguments: str | Path | int) -> None:
    """Run any other subcommand of qemu-img."""
    _run("qemu-img", *arguments)


def io(path: Path, commands: Iterable[str]) -> None:
    """Run qemu-io commands on a qcow2 image, as `write -P 7 0 64k`.

    One that qemu does not do, as a compressed write to a cluster that is in use, is passed over.
    """
    for command in commands:
        with suppress(QemuError):
            _run("qemu-io", "-f", "qcow2", "-c", command, path)


def sha256_of_disk(path: Path, driver: str = "qcow2") -> str:
    """Convert an image to raw as Nova does, and hash that. Raises QemuError if qemu-img refuses it.

    driver: qemu's name of the format.
    """
    with TemporaryDirectory(dir=path.parent) as folder:
        raw = Path(folder) / "disk.raw"
        _run("qemu-img", "convert", "-f", driver, "-O", "raw", path, raw)
        with raw.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _options(options: Iterable[str]) -> list[str]:
    given = ",".join(options)
    return ["-o", given] if given else []


def _run(program: str, *arguments: str | Path | int) -> str:
    command = [str(programs.find(program, "qemu-utils")), *map(str, arguments)]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT, errors="replace"
    )
    if done.returncode:
        raise QemuError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout
