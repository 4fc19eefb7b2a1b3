"""`manifest-service import FILE`: take in what another site has exported."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.printing import printable
from manifest_service.commands.progress import progress_bar
from manifest_service.commands.trusted_keys import load_trusted_keys, trusted_key_option
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database
from manifest_service.errors import BundleCode, UsageError
from manifest_service.manifests.imports import Outcome
from manifest_service.processing.bundle import PassedOver, lines_of
from manifest_service.processing.importing import ImportSettings, LineResult, Odd, Result, import_lines

EXIT_DONE = 0
EXIT_BAD = 1
EXIT_CONFLICT = 4
EXIT_UNTRUSTED = 5
MOST_TOLD = 20
"""Sentences about lines; the counts say how many there were."""

_EXITS: dict[Result, int] = {
    Outcome.CONFLICT: EXIT_CONFLICT,
    Odd.CONTRADICTORY: EXIT_CONFLICT,
    PassedOver.UNSIGNED: EXIT_UNTRUSTED,
    PassedOver.UNVERIFIED: EXIT_UNTRUSTED,
    Odd.BAD: EXIT_BAD,
}
_WORST_FIRST = (EXIT_CONFLICT, EXIT_UNTRUSTED, EXIT_BAD)


@click.command("import")
@config_option
@trusted_key_option("Take what this key has signed.")
@click.option("--unsigned", is_flag=True, help="Take documents without a trusted statement as they are, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would come of it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("file", type=click.Path(readable=False, allow_dash=True))
def command(
    config_files: Sequence[str],
    trusted_keys: Sequence[Path],
    unsigned: bool,
    dry_run: bool,
    as_json: bool,
    file: str,
) -> None:
    """Take in FILE, the JSON lines of another site's `export`, so that this site's API answers from them.

    Only what a trusted key has signed is taken, unless --unsigned. An image of this site's own Glance is never changed.
    It may be stopped at any time, and run again.

    Exit code: 0 all is here, 4 something contradicts what is here (or its own statement), 5 something is not signed by
    a trusted key and was left out, 2 usage, 1 anything else.
    """
    trusted = load_trusted_keys(trusted_keys)
    if not trusted and not unsigned:
        raise UsageError(BundleCode.NO_TRUSTED_KEY, "nothing would be taken: there is no key to trust")
    settings = ImportSettings(trusted, unsigned=unsigned, dry_run=dry_run)
    report = _Report()
    with ending_in_order(), needing_database(), _opened(file) as opened:
        database = open_database(load_config(config_files))
        bar = progress_bar()
        bar.begin("importing")
        try:
            done = 0
            for part in import_lines(database, _lines_of(opened, file), settings):
                report.add(part.results)
                done += part.size
                bar.update(done, _size_of(opened))
        finally:
            bar.end()
    report.show(as_json=as_json, dry_run=dry_run)
    sys.exit(report.exit_code)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file to read, `-` for standard input. Raises UsageError."""
    with ExitStack() as closing:
        if file == "-" and sys.stdin is None:
            raise UsageError(BundleCode.BAD_BUNDLE, "standard input is closed")
        try:
            opened = sys.stdin.buffer if file == "-" else closing.enter_context(open(file, "rb"))
        except OSError as error:
            raise _unreadable(file, error) from error
        yield opened


def _lines_of(opened: BinaryIO, file: str) -> Iterator[tuple[bytes | None, int]]:
    """Its lines. Raises UsageError where they cannot be read."""
    try:
        yield from lines_of(opened)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: OSError) -> UsageError:
    return UsageError(
        BundleCode.BAD_BUNDLE, f"{printable(file)} cannot be read: {(error.strerror or str(error)).lower()}"
    )


def _size_of(opened: BinaryIO) -> int:
    """Bytes of a file, for the bar; 0 where nobody knows them."""
    status = os.fstat(opened.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


class _Report:
    """What came of all lines."""

    def __init__(self) -> None:
        self._counts: Counter[Result] = Counter()
        self._told: list[LineResult] = []

    def add(self, results: Sequence[LineResult]) -> None:
        for each in results:
            self._counts[each.result] += 1
            if each.reason and len(self._told) < MOST_TOLD:
                self._told.append(each)

    @property
    def exit_code(self) -> int:
        found = {_EXITS.get(result, EXIT_DONE) for result in self._counts}
        return next((code for code in _WORST_FIRST if code in found), EXIT_DONE)

    def show(self, *, as_json: bool, dry_run: bool) -> None:
        """Print the counts, and on stderr what an operator should know of the first odd lines."""
        for each in self._told:
            where = f"line {each.number}" if each.image_id is None else f"line {each.number}, image {each.image_id}"
            click.echo(f"{where}: {each.result}: {printable(each.reason)}", err=True)
        if as_json:
            every: tuple[Result, ...] = (*Outcome, *PassedOver, *Odd)
            click.echo(json.dumps({result: self._counts[result] for result in every}))
            return
        told = ", ".join(f"{count} {result}" for result, count in self._counts.most_common()) or "nothing in it"
        click.echo(f"{'would be imported' if dry_run else 'imported'}: {told}")
