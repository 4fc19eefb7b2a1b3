"""Stores of plain files, for tests of those who only want to open a source."""

from collections.abc import Callable, Mapping
from pathlib import Path

from manifest_service.disks.source import FileSource
from manifest_service.images.streams.forward import NOTHING_RECORDED, Recorded
from manifest_service.images.streams.patience import no_tick


class FolderStore:
    """Files named by image id."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(
        self, image_id: str, recorded: Recorded = NOTHING_RECORDED, tick: Callable[[], None] = no_tick
    ) -> FileSource:
        return FileSource.open(self._path_of(image_id))

    def more_checksums(self, image_id: str, tick: Callable[[], None] = no_tick) -> Mapping[str, str]:
        """Nobody records any."""
        return {}

    def _path_of(self, image_id: str) -> Path:
        return self.path / image_id


class OneFileStore(FolderStore):
    """One file, whatever image is asked for."""

    def _path_of(self, image_id: str) -> Path:
        return self.path
