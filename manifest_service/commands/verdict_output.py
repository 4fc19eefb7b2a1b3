"""Showing verdicts: a table with progress bars on a terminal, lines or JSON for others."""

from __future__ import annotations

import json
import sys
from typing import Protocol

import click

from manifest_service.commands.printing import printable
from manifest_service.node.verdicts import FileVerdict


class VerdictOutput(Protocol):
    """Is told of one file after the other."""

    def begin(self, files: int, size: int) -> None:
        """So many files, of so many bytes in all."""
        ...

    def begin_file(self, name: str, size: int) -> None:
        """A file is being checked."""
        ...

    def progress(self, done: int, total: int) -> None:
        """So many of its bytes are done."""
        ...

    def add(self, verdict: FileVerdict) -> None:
        """A file is checked."""
        ...

    def end(self) -> None:
        """There are no more; also after a failure."""
        ...


def verdict_output(*, as_json: bool) -> VerdictOutput:
    """The output for whoever reads stdout."""
    if as_json:
        return JsonLines()
    if not sys.stdout.isatty():
        return PlainLines()
    # Loading rich takes longer than a small folder to check: only for those who see it.
    from manifest_service.commands.verdict_table import VerdictTable  # noqa: PLC0415

    return VerdictTable()


class _Silent:
    """Shows nothing while files are checked."""

    def begin(self, files: int, size: int) -> None:
        pass

    def begin_file(self, name: str, size: int) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass

    def end(self) -> None:
        pass


class JsonLines(_Silent):
    """One object a file."""

    def add(self, verdict: FileVerdict) -> None:
        click.echo(json.dumps(verdict.as_json()))


class PlainLines(_Silent):
    """Verdict, file, and why, on a line each."""

    def add(self, verdict: FileVerdict) -> None:
        image = printable(verdict.name or verdict.image_id or "-")
        click.echo(f"{verdict.verdict:<21}  {printable(verdict.file)}  {image}  {printable(verdict.reason)}")
