"""Writing a disk to a raw file as Nova would, and hashing such a file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from manifest_service.digests import algorithms as known
from manifest_service.digests import engine
from manifest_service.digests.digest import Digest
from manifest_service.digests.engine import DiskDigests
from manifest_service.disks.foreign.inspection import QEMU_DRIVERS
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.disks.new_file import NewFile
from manifest_service.disks.opening import COPIED, open_image
from manifest_service.disks.raw_file import SparseFileWriter
from manifest_service.disks.source import FileSource
from manifest_service.errors import ManifestServiceError, OutputCode


class DigestMismatch(ManifestServiceError):
    """The disk is not the one that was expected."""

    def __init__(self, reason: str) -> None:
        super().__init__(OutputCode.DIGEST_MISMATCH, reason)


def convert(image: Path, disk_format: str, output: Path) -> str:
    """Write the disk in `image` to `output`, sparse, and say by what: qemu-img where installed, else our own reader.

    Raises ImageRefused, or ManifestServiceError with what qemu-img says.
    """
    qemu_img = shutil.which("qemu-img")
    if disk_format in COPIED or qemu_img is None:
        with FileSource.open(image) as source:
            write_disk(source, disk_format, output, [known.DEFAULT_ALGORITHM])
        return "a mere copy, since the file is the disk" if disk_format in COPIED else "our own reader"
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
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, a list of ours  # nosec B603
    if done.returncode != 0:
        raise ManifestServiceError("conversion-failed", f"qemu-img ended with {done.returncode}: {done.stderr.strip()}")
    return "qemu-img"


def write_disk(
    source: FileSource,
    disk_format: str,
    output: Path,
    algorithms: Iterable[str],
    *,
    expected: Iterable[Digest] = (),
    overwrite: bool = False,
    progress: engine.Progress | None = None,
    tick: Callable[[], None] = lambda: None,
) -> DiskDigests:
    """Write the disk in an image to a raw file, and compute digests of what is written, in one pass.

    The file is there under its name when it is whole and as expected, or not at all.

    expected: what the disk must hash to; their algorithms are among `algorithms`. overwrite: replace the file that may
        be there. progress: as `engine.compute` calls it. tick: called now and then while qemu-img converts.
    Raises ImageRefused, ComputationFailed, UsageError (output-exists), OutputFailed, DigestMismatch.
    """
    with (
        NewFile(output, overwrite=overwrite) as file,
        open_image(source, disk_format, DEFAULT_LIMITS, None, tick) as image,
    ):
        writer = SparseFileWriter(file.descriptor)
        computed = engine.compute(
            image.disk, image.source, algorithms, consumers={"raw file": writer}, progress=progress
        )
        writer.finish()
        source.verify_unchanged()
        _require(expected, computed.digests)
        file.land()
    return computed


def _require(expected: Iterable[Digest], found: Mapping[str, str]) -> None:
    wrong = [
        f"{digest.algorithm} {digest.hex} was expected, but the disk has {found[digest.algorithm]}"
        for digest in expected
        if found[digest.algorithm] != digest.hex
    ]
    if wrong:
        raise DigestMismatch("; ".join(wrong))


def sha256_of(path: Path) -> str:
    """SHA-256 of all bytes of a file, in hex: what `sha256sum` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
