"""A raw image: the disk is the file."""

from __future__ import annotations

from collections.abc import Iterator

from manifest_service.disks.limits import Limits
from manifest_service.disks.runs import Run, Stored, Zeros
from manifest_service.disks.source import Source
from manifest_service.errors import ImageRefused, RefusalCode


class RawDisk:
    """The bytes of a source, unchanged: Nova copies a raw image and does not convert it, so no size is rounded."""

    disk_format = "raw"
    warnings: tuple[str, ...] = ()

    def __init__(self, source: Source, limits: Limits) -> None:
        if source.size > limits.virtual_size:
            raise ImageRefused(
                RefusalCode.VIRTUAL_SIZE_LIMIT,
                f"the disk has {source.size} bytes, more than the {limits.virtual_size} that are allowed",
            )
        self._source = source
        self.virtual_size = source.size

    def runs(self) -> Iterator[Run]:
        done = 0
        while done < self.virtual_size:
            data = self._source.next_data(done)
            if data.start > done:
                yield Zeros(data.start - done)
            if data:
                yield Stored(data.start, len(data))
            done = data.stop
