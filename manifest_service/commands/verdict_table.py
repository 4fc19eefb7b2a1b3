"""Verdicts on a terminal, by rich; loaded by `verdict_output` where there is one."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from manifest_service.commands.printing import printable
from manifest_service.commands.rich_bar import progress_of_bytes
from manifest_service.node.verdicts import EXIT_CORRUPT, EXIT_MATCH, FileVerdict, exit_code_of
from manifest_service.shown import counted

_COLOURS = {EXIT_MATCH: "green", EXIT_CORRUPT: "bold red"}


class VerdictTable:
    """Two bars while files are checked, one for the file and one for all; then a table."""

    def __init__(self) -> None:
        self._verdicts: list[FileVerdict] = []
        self._progress = progress_of_bytes()
        self._all = self._file = TaskID(0)
        self._done = self._size = 0

    def begin(self, files: int, size: int) -> None:
        self._all = self._progress.add_task(counted(files, "file"), total=size)
        self._file = self._progress.add_task("", total=None)
        self._progress.start()

    def begin_file(self, name: str, size: int) -> None:
        self._size = size
        self._progress.reset(self._file, description=printable(name), total=size)

    def progress(self, done: int, total: int) -> None:
        # A file may be gone through twice: once for its digest, once for where it differs.
        share = done / total if total else 1
        self._progress.update(self._file, completed=done, total=total)
        self._progress.update(self._all, completed=self._done + share * self._size)

    def add(self, verdict: FileVerdict) -> None:
        self._verdicts.append(verdict)
        self._done += self._size
        self._progress.update(self._all, completed=self._done)

    def end(self) -> None:
        self._progress.stop()
        table = Table("file", "image", "verdict", "evidence", "why", box=None, header_style="bold")
        for each in self._verdicts:
            colour = _COLOURS.get(exit_code_of([each.verdict]), "yellow")
            table.add_row(
                Text(printable(each.file.rpartition("/")[2])),
                Text(printable(each.name or each.image_id or "-")),
                Text(each.verdict, style=colour),
                Text(each.evidence or "-"),
                Text(printable(each.reason)),
            )
        Console().print(table)
