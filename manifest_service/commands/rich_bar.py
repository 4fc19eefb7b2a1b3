"""The progress bar, by rich; loaded by `progress` where there is a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def progress_of_bytes() -> Progress:
    """A display of bars of bytes on stderr: name, bar, bytes done, speed and time left; erased when it is stopped."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


class RichBar:
    """A bar for each file, gone when it is done."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def begin(self, name: str) -> None:
        # One display a file: it is erased before the file's result is printed.
        self._progress = progress_of_bytes()
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()

    def update(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)

    def refresh(self) -> None:
        if self._progress is not None:
            self._progress.refresh()

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
