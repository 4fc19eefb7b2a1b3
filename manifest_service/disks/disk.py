"""What every format offers: a disk of so many bytes, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from manifest_service.disks.runs import Run


class Disk(Protocol):
    """A disk as its guest sees it."""

    @property
    def disk_format(self) -> str:
        """Glance's name of the format that the source is in."""
        ...

    @property
    def virtual_size(self) -> int:
        """Bytes of the disk."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the operator about an image that is computed all the same."""
        ...

    def runs(self) -> Iterator[Run]:
        """Map the disk: runs in guest order that together cover [0, virtual_size) exactly, in bounded memory.

        They are found while they are asked for: what is wrong with a table is raised (ImageRefused) when it is met.
        """
        ...
