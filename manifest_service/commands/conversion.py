"""Writing a disk to a raw file as Nova would, and hashing such a file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

from manifest_service.disks.foreign.inspection import QEMU_DRIVERS
from manifest_service.disks.opening import COPIED, open_disk
from manifest_service.disks.reading import read_disk
from manifest_service.disks.runs import Zeros
from manifest_service.disks.source import FileSource
from manifest_service.errors import ManifestServiceError


def convert(image: Path, disk_format: str, output: Path) -> str:
    """Write the disk in `image` to `output`, sparse, and say by what: qemu-img where installed, else our own reader.

    Raises ImageRefused, or ManifestServiceError with what qemu-img says.
    """
    if disk_format in COPIED:
        shutil.copyfile(image, output)
        return "a mere copy, since the file is the disk"
    qemu_img = shutil.which("qemu-img")
    if qemu_img is None:
        write_disk(image, disk_format, output)
        return "our own reader"
    arguments = [
        qemu_img,
        "convert",
        "-O",
        "raw",
        "-f",
        QEMU_DRIVERS.get(disk_format, disk_format),
        str(image),
        str(output),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ManifestServiceError("conversion-failed", f"qemu-img ended with {done.returncode}: {done.stderr.strip()}")
    return "qemu-img"


def write_disk(image: Path, disk_format: str, output: Path) -> None:
    """Write the disk in `image` to `output` with our own reader; its zeros become holes."""
    with FileSource.open(image) as source, output.open("wb") as file:
        disk = open_disk(source, disk_format)
        with closing(read_disk(disk, source)) as pieces:
            for piece in pieces:
                if isinstance(piece, Zeros):
                    file.seek(piece.length, 1)
                else:
                    file.write(piece.view)
                    piece.release()
        file.truncate(disk.virtual_size)


def sha256_of(path: Path) -> str:
    """SHA-256 of all bytes of a file, in hex: what `sha256sum` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
