"""`manifest-service export`: all manifests in one file, from the database or from an API."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import click
from pydantic import ValidationError

from api.export_formats import DEFAULT_ALGORITHM, MEDIA_TYPES, Export, ExportFormat, Piece, write
from api.exports import ExportQuery
from manifest_service.commands.access import access_options, open_access
from manifest_service.commands.counting import counting
from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.printing import printable
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database
from manifest_service.disks.new_file import NewFile
from manifest_service.errors import BundleCode, ManifestServiceError, OutputFailed, UsageError
from manifest_service.manifests import walking
from manifest_service.manifests.states import Status
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.node.api_manifests import ApiClient
from manifest_service.shown import counted

STDOUT = "-"


@click.command("export")
@config_option
@click.option("--url", metavar="URL", help="Ask a manifest API, in place of the database.")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in ExportFormat]),
    default=ExportFormat.JSONL.value,
    show_default=True,
    help="What it looks like.",
)
@click.option(
    "--output",
    "-o",
    default=STDOUT,
    type=click.Path(readable=False, allow_dash=True),
    metavar="FILE",
    help="Where to write it; by default to standard output.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--algorithm", "-a", default=DEFAULT_ALGORITHM, show_default=True, metavar="A", help="Of the sums.")
@click.option("--with-block-maps", "block_maps", is_flag=True, help="JSON lines with the member `bmap`.")
@click.option("--status", type=click.Choice([each.value for each in Status]), help="Only manifests that are so.")
@click.option("--disk-format", metavar="F", help="Only images of this disk_format.")
@click.option("--owner", metavar="ID", help="Only images of this project.")
@click.option("--since", metavar="TIME", help="Only what changed at or after this time, as 2026-11-25T00:00:00Z.")
@access_options
def command(
    config_files: Sequence[str],
    url: str | None,
    form: str,
    output: str,
    force: bool,
    cloud: str | None,
    cacert: str | None,
    **options: Any,
) -> None:
    """Write all current manifests to one file: JSON lines, CSV, sums, or signed statements.

    FILE appears when it is whole, or not at all. What goes to standard output is whole where the exit code is 0.

    Exit code: 0 all was written, 2 usage, 1 anything else.
    """
    query = _read_query(form, options)
    client = None if url is None else ApiClient(url, open_access(cloud, cacert))
    with ending_in_order(), needing_database():
        lines, size = _write(_Pieces(query, client, config_files), output, overwrite=force)
    told = "standard output" if output == STDOUT else printable(output)
    click.echo(f"{counted(lines, 'line')}, {counted(size, 'byte')}: {told}", err=True)


def _read_query(form: str, options: dict[str, Any]) -> ExportQuery:
    """Check the options as the API does. Raises UsageError."""
    try:
        query = ExportQuery(format=ExportFormat(form), **options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = str(first["loc"][0]).replace("_", "-") if first["loc"] else "call"
        raise UsageError(BundleCode.BAD_EXPORT, f"--{option}: {first['msg']}") from None
    query.as_export()
    return query


class _Pieces:
    """The export, from wherever it comes, with a bar that counts manifests."""

    def __init__(self, query: ExportQuery, client: ApiClient | None, config_files: Sequence[str]) -> None:
        self._query = query
        self._export = query.as_export()
        self._client = client
        self._config_files = config_files

    def __iter__(self) -> Iterator[bytes]:
        total, pieces = self._open()
        with counting("exporting", total) as advance:
            for piece in pieces:
                yield piece.text
                advance(piece.manifests)

    def _open(self) -> tuple[int | None, Iterable[Piece]]:
        if self._client is not None:
            return None, _ask(self._client, self._query, self._export)
        database = open_database(load_config(self._config_files))
        return walking.count(database, EVERYTHING, self._export.wanted), write(database, EVERYTHING, self._export)


def _ask(client: ApiClient, query: ExportQuery, export: Export) -> Iterator[Piece]:
    """The export of an API. Raises ManifestServiceError where it is not whole."""
    asked = query.model_dump(mode="json", exclude_defaults=True)
    ended = True
    for part in client.stream(f"/v1/export?{urlencode(asked)}", MEDIA_TYPES[export.format]):
        yield Piece(part, part.count(b"\n"))
        ended = part.endswith(b"\n")
    if not ended:
        raise ManifestServiceError(
            BundleCode.EXPORT_BROKEN, "the API's answer ends in the middle of a line: it is not whole"
        )


def _write(pieces: Iterable[bytes], output: str, *, overwrite: bool) -> tuple[int, int]:
    """Write all pieces; answers how many lines and bytes they had. Raises UsageError, OutputFailed."""
    if output == STDOUT:
        return _copy(pieces, sys.stdout.fileno())
    with NewFile(output, overwrite=overwrite) as file:
        written = _copy(pieces, file.descriptor)
        file.land()
    return written


def _copy(pieces: Iterable[bytes], descriptor: int) -> tuple[int, int]:
    lines = size = 0
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BrokenPipeError:
                raise  # Whoever read it has gone, which `main` knows.
            except OSError as error:
                raise OutputFailed(f"the output cannot be written: {(error.strerror or str(error)).lower()}") from error
        lines += piece.count(b"\n")
        size += len(piece)
    return lines, size
