"""From a source and the format that is claimed for it to a disk, or to a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from manifest_service.disks.disk import Disk
from manifest_service.disks.foreign.inspection import QEMU_DRIVERS
from manifest_service.disks.formats import detect_format
from manifest_service.disks.limits import DEFAULT_LIMITS, Limits
from manifest_service.disks.qcow2.disk import Qcow2Disk
from manifest_service.disks.raw import RawDisk
from manifest_service.disks.source import Source
from manifest_service.errors import ImageRefused, RefusalCode

COPIED = {
    "raw": {"raw"},
    "iso": {"iso"},
    "ami": {"raw", "iso"},
    "aki": {"raw", "iso"},
    "ari": {"raw", "iso"},
}
"""What Nova copies as it is → the contents that agree with that claim. What is said to be one of Amazon's formats must
be raw to qemu, which knows nothing of ISO 9660."""
SUPPORTED = ("qcow2", *COPIED, *QEMU_DRIVERS)
"""Glance's names of the formats that have a digest."""


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A disk, and the source that its runs lie in: the image itself, or the disk as a raw file."""

    disk: Disk
    source: Source


@contextmanager
def open_image(
    source: Source, disk_format: str, limits: Limits, scratch_folder: str | None, tick: Callable[[], None]
) -> Iterator[OpenedImage]:
    """Open an image of any supported format; those that are not ours to read are converted first.

    scratch_folder: where a converted disk lies meanwhile; None for the system's folder for temporary files.
    tick: called several times a second during a conversion; what it raises ends that and is passed on.
    Raises ImageRefused for what can have no manifest, ComputationFailed if this attempt cannot have one.
    """
    if disk_format not in QEMU_DRIVERS:
        yield OpenedImage(open_disk(source, disk_format, limits), source)
        return
    _require_format(source, disk_format, {disk_format})
    # What few images need takes a tenth of the time in which a command starts.
    from manifest_service.disks.foreign.conversion import converted  # noqa: PLC0415

    with converted(source, disk_format, limits, scratch_folder, tick) as raw:
        yield OpenedImage(RawDisk(raw, limits), raw)


def open_disk(source: Source, disk_format: str, limits: Limits = DEFAULT_LIMITS) -> Disk:
    """Read what `source` says of its disk, and check it: qcow2, and formats whose disk is the file.

    disk_format: what is claimed, in Glance's words. The content must agree: a guest that writes another format's header
        into its raw disk would otherwise choose how that disk is read the next time.
    Raises ImageRefused for what can have no manifest, ComputationFailed if the source cannot be read.
    """
    if disk_format == "qcow2":
        _require_format(source, disk_format, {"qcow2"})
        return Qcow2Disk(source, limits)
    if disk_format in COPIED:
        _require_format(source, disk_format, COPIED[disk_format])
        return RawDisk(source, limits)
    raise ImageRefused(
        RefusalCode.UNSUPPORTED_FORMAT,
        f"images of format {disk_format!r} are not supported; these are: {', '.join(SUPPORTED)}",
    )


def _require_format(source: Source, claimed: str, allowed: set[str]) -> None:
    found = detect_format(source)
    if found not in allowed:
        raise ImageRefused(
            RefusalCode.FORMAT_MISMATCH, f"the image is said to be {claimed}, but its content is {found}"
        )
