"""`manifest-service digest FILE…`: what Nova's converted file would hash to, with nothing but the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.printing import checksum_line, printable
from manifest_service.commands.progress import Progress, progress_bar
from manifest_service.digests import algorithms as known
from manifest_service.digests import engine
from manifest_service.digests.bmap import BlockMap
from manifest_service.disks.formats import detect_format
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.disks.opening import open_image
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, ImageRefused, ManifestServiceError

EXIT_ALL_READY = 0
EXIT_FAILED = 1
EXIT_REFUSED = 3

_BLOCK_MAP_RANGES = 1 << 20


@dataclass(frozen=True)
class FileResult:
    """What came of one file. virtual_size in bytes; digests: algorithm → hex; error: why there are none."""

    file: str
    disk_format: str | None = None
    virtual_size: int | None = None
    digests: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: ManifestServiceError | None = None
    block_map: BlockMap | None = None

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
@click.option(
    "--disk-format",
    "--format",
    "disk_format",
    metavar="F",
    help="What the files are said to be; by default, what they are.",
)
@click.option("--bmap", "bmap", type=click.File("w", lazy=True), help="Also write the disk's block map to this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and file.")
@click.argument("files", nargs=-1, required=True, type=click.Path(readable=False), metavar="FILE...")
def command(
    algorithms: Sequence[str], disk_format: str | None, bmap: TextIO | None, as_json: bool, files: Sequence[str]
) -> None:
    """Compute digests of the disks in image FILEs, as `qemu-img convert -O raw` would write them.

    Exit code: 0 all are ready, 3 something was refused, 2 usage, 1 anything else.
    """
    wanted = known.check(algorithms or [known.DEFAULT_ALGORITHM])
    if bmap is not None and len(files) > 1:
        raise click.UsageError("--bmap is for one FILE")
    results: list[FileResult] = []
    bar = progress_bar()
    for file in files:
        with ending_in_order():
            result = digest_file(file, disk_format, wanted, bar, block_map_ranges=_BLOCK_MAP_RANGES if bmap else 0)
        results.append(result)
        if bmap is not None and result.block_map is not None:
            bmap.write(result.block_map.as_xml())
        print_result(result, as_json=as_json, label_algorithm=len(wanted) > 1)
    sys.exit(_exit_code(results))


def digest_file(
    file: str, claimed: str | None, algorithms: Iterable[str], bar: Progress, *, block_map_ranges: int = 0
) -> FileResult:
    """Compute one file's digests; what is wrong with it is part of the result.

    claimed: its format as Glance would have it; None to go by its content.
    """
    disk_format = claimed
    bar.begin(printable(file))
    try:
        with FileSource.open(file) as source:
            disk_format = claimed or detect_format(source)
            with open_image(source, disk_format, DEFAULT_LIMITS, None, bar.refresh) as image:
                computed = engine.compute(
                    image.disk, image.source, algorithms, block_map_ranges=block_map_ranges, progress=bar.update
                )
            source.verify_unchanged()
    except (ImageRefused, ComputationFailed) as error:
        return FileResult(file, disk_format, error=error)
    finally:
        bar.end()
    return FileResult(
        file,
        disk_format,
        computed.virtual_size,
        dict(computed.digests),
        computed.warnings,
        block_map=computed.block_map,
    )


def print_result(result: FileResult, *, as_json: bool, label_algorithm: bool) -> None:
    """Print one file's result: lines as `sha256sum` writes them, tagged by algorithm where there are several."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    name = printable(result.file)
    if result.error is not None:
        click.echo(f"{name}: {result.status}: {printable(str(result.error))}", err=True)
        # Those of a computation speak of the service's configuration.
        if result.error.next_step and not isinstance(result.error, ComputationFailed):
            click.echo(f"  {result.error.next_step}", err=True)
    for warning in result.warnings:
        click.echo(f"{name}: warning: {printable(warning)}", err=True)
    for algorithm, value in result.digests.items():
        if label_algorithm:
            click.echo(f"{algorithm.upper()} ({name}) = {value}")
        else:
            # On a terminal, for eyes; otherwise for `sha256sum -c`, which needs the very bytes of the name.
            click.echo(checksum_line(value, name if sys.stdout.isatty() else result.file))


def _exit_code(results: Iterable[FileResult]) -> int:
    statuses = {result.status for result in results}
    if "failed" in statuses:
        return EXIT_FAILED
    return EXIT_REFUSED if "refused" in statuses else EXIT_ALL_READY
