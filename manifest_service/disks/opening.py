"""From a source and the format that is claimed for it to a disk, or to a refusal."""

from __future__ import annotations

from manifest_service.disks.disk import Disk
from manifest_service.disks.formats import detect_format
from manifest_service.disks.limits import DEFAULT_LIMITS, Limits
from manifest_service.disks.qcow2.disk import Qcow2Disk
from manifest_service.disks.raw import RawDisk
from manifest_service.disks.source import Source
from manifest_service.errors import ImageRefused, RefusalCode


def open_disk(source: Source, disk_format: str, limits: Limits = DEFAULT_LIMITS) -> Disk:
    """Read what `source` says of its disk, and check it.

    disk_format: what is claimed, in Glance's words. The content must agree: a guest that writes another format's header
        into its raw disk would otherwise choose how that disk is read the next time.
    Raises ImageRefused for what can have no manifest, ComputationFailed if the source cannot be read.
    """
    if disk_format not in ("qcow2", "raw"):
        raise ImageRefused(
            RefusalCode.UNSUPPORTED_FORMAT, f"images of format {disk_format!r} are not supported; qcow2 and raw are"
        )
    found = detect_format(source)
    if found != disk_format:
        raise ImageRefused(
            RefusalCode.FORMAT_MISMATCH, f"the image is said to be {disk_format}, but its content is {found}"
        )
    if disk_format == "raw":
        return RawDisk(source, limits)
    return Qcow2Disk(source, limits)
