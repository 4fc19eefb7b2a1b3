"""`manifest-service digest FILE…`: what Nova's converted file would hash to, with nothing but the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from manifest_service.digests import algorithms as known
from manifest_service.digests import engine
from manifest_service.disks.formats import detect_format
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, ImageRefused, ManifestServiceError

EXIT_ALL_READY = 0
EXIT_FAILED = 1
EXIT_REFUSED = 3


@dataclass(frozen=True)
class FileResult:
    """What came of one file. virtual_size in bytes; digests: algorithm → hex; error: why there are none."""

    file: str
    disk_format: str | None = None
    virtual_size: int | None = None
    digests: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: ManifestServiceError | None = None

    @property
    def status(self) -> str:
        """`ready`, `refused` or `failed`."""
        if self.error is None:
            return "ready"
        return "refused" if isinstance(self.error, ImageRefused) else "failed"

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "file": self.file,
            "format": self.disk_format,
            "status": self.status,
            "virtual_size": self.virtual_size,
            "digests": self.digests,
            "code": self.error.code if self.error else None,
            "reason": self.error.reason if self.error else None,
        }


@click.command("digest")
@click.option("--algorithm", "-a", "algorithms", multiple=True, metavar="A", help="sha256 (default), sha512, blake3, …")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and file.")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
def command(algorithms: Sequence[str], as_json: bool, files: Sequence[str]) -> None:
    """Compute digests of the disks in image FILEs, as `qemu-img convert -O raw` would write them.

    Exit code: 0 all are ready, 3 something was refused, 2 usage, 1 anything else.
    """
    wanted = known.check(algorithms or [known.DEFAULT_ALGORITHM])
    results: list[FileResult] = []
    with _progress_bar() as bar:
        for file in files:
            result = digest_file(file, wanted, bar)
            results.append(result)
            _print(result, as_json=as_json, label_algorithm=len(wanted) > 1)
    sys.exit(_exit_code(results))


def digest_file(file: str, algorithms: Iterable[str], bar: Progress) -> FileResult:
    """Compute one file's digests; what is wrong with it is part of the result."""
    disk_format = None
    task = bar.add_task(_printable(file), total=None)
    try:
        with FileSource.open(file) as source:
            disk_format = detect_format(source)
            disk = open_disk(source, disk_format)
            computed = engine.compute(
                disk, source, algorithms, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
            source.verify_unchanged()
    except (ImageRefused, ComputationFailed) as error:
        return FileResult(file, disk_format, error=error)
    finally:
        bar.remove_task(task)
    return FileResult(file, disk_format, computed.virtual_size, dict(computed.digests), computed.warnings)


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on stderr where that is a terminal; nothing otherwise."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _print(result: FileResult, *, as_json: bool, label_algorithm: bool) -> None:
    """Print one file's result: lines as `sha256sum` writes them, tagged by algorithm where there are several."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    name = _printable(result.file)
    if result.error is not None:
        click.echo(f"{name}: {result.status}: {result.error}", err=True)
        if result.status == "refused" and result.error.next_step:
            click.echo(f"  {result.error.next_step}", err=True)
    for warning in result.warnings:
        click.echo(f"{name}: warning: {warning}", err=True)
    for algorithm, value in result.digests.items():
        click.echo(f"{algorithm.upper()} ({name}) = {value}" if label_algorithm else f"{value}  {name}")


def _printable(name: str) -> str:
    """A file's name with nothing in it that a terminal would obey; bytes that are no text show as escapes."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _exit_code(results: Iterable[FileResult]) -> int:
    statuses = {result.status for result in results}
    if "failed" in statuses:
        return EXIT_FAILED
    return EXIT_REFUSED if "refused" in statuses else EXIT_ALL_READY
