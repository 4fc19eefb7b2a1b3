"""A qcow2 image as a disk."""

from __future__ import annotations

from collections.abc import Iterator

from manifest_service.disks.limits import Limits
from manifest_service.disks.qcow2.bitmaps import check_bitmaps
from manifest_service.disks.qcow2.extensions import read_extensions
from manifest_service.disks.qcow2.header import Header, read_header
from manifest_service.disks.qcow2.oddities import Oddities
from manifest_service.disks.qcow2.snapshots import check_snapshots
from manifest_service.disks.qcow2.tables import map_disk
from manifest_service.disks.runs import Run
from manifest_service.disks.source import Source


class Qcow2Disk:
    """The active disk of a qcow2 image; its internal snapshots are not looked into."""

    disk_format = "qcow2"

    def __init__(self, source: Source, limits: Limits) -> None:
        """Check all that qemu checks on opening. Raises ImageRefused."""
        self._source = source
        self._header = read_header(source, limits)
        self._oddities = Oddities(self._header)
        directory = read_extensions(source, self._header, limits)
        check_snapshots(source, self._header, limits)
        if directory is not None:
            check_bitmaps(source, self._header, directory, limits)

    @property
    def virtual_size(self) -> int:
        return self._header.virtual_size

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the header tells; and the tables, once `runs` has been through them."""
        return (*_warnings(self._header), *self._oddities.sentences)

    def runs(self) -> Iterator[Run]:
        return map_disk(self._source, self._header, self._oddities)


def _warnings(header: Header) -> Iterator[str]:
    if header.extended_l2:
        yield "The image has extended L2 entries, which the format inspection of Nova refuses: it will not boot."
    if header.marked_corrupt:
        yield "The image is marked corrupt: qemu found broken metadata in it once. Check it with `qemu-img check`."
    if header.marked_dirty:
        yield "The image is marked dirty: it was not closed properly. Check it with `qemu-img check`."
    if header.size != header.virtual_size:
        yield f"The header gives {header.size} bytes; qemu drops the last {header.size - header.virtual_size} of them."
    if header.snapshots:
        yield f"The image holds internal snapshots ({header.snapshots}), which are no part of the disk."
