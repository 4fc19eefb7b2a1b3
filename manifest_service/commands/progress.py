"""A progress bar for each file, on a terminal; nothing where nobody watches."""

from __future__ import annotations

import sys
from typing import Protocol


class Progress(Protocol):
    """Shows how far one file after the other is."""

    def begin(self, name: str) -> None:
        """Show a bar for a file; name: printable."""
        ...

    def update(self, done: int, total: int) -> None:
        """Show so many bytes of so many."""
        ...

    def refresh(self) -> None:
        """Show that time goes by, though no bytes are done."""
        ...

    def end(self) -> None:
        """Take the file's bar away."""
        ...


def progress_bar() -> Progress:
    """A bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        return _NoBar()
    # Loading rich takes as long as hashing a hundred MiB: only for those who see it.
    from manifest_service.commands.rich_bar import RichBar  # noqa: PLC0415

    return RichBar()


class _NoBar:
    def begin(self, name: str) -> None:
        pass

    def update(self, done: int, total: int) -> None:
        pass

    def refresh(self) -> None:
        pass

    def end(self) -> None:
        pass
