"""`manifest-service scan DIR`: is everything in Nova's `_base` folder what it should be?"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from manifest_service.commands.checking import check
from manifest_service.commands.node_options import node_options, open_client, open_manifests, read_settings
from manifest_service.commands.printing import printable
from manifest_service.commands.verdict_output import verdict_output
from manifest_service.errors import ManifestServiceError, UsageError
from manifest_service.node.base_directory import list_files
from manifest_service.node.reports import AT_ONCE, Reporter
from manifest_service.node.textfile import write_metrics
from manifest_service.node.verdicts import EXIT_FAILED, EXIT_MATCH, FileVerdict, exit_code_of
from manifest_service.shown import counted
from manifest_service.state_folder import state_folder


@click.command("scan")
@node_options
@click.option("--report", is_flag=True, help="Send the verdicts to the API, now or when it answers again.")
@click.option("--node", default=socket.gethostname, metavar="NAME", help="This machine's name in reports.")
@click.option(
    "--spool",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where reports wait while the API is away; by default in the state folder.",
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write metrics for node_exporter's textfile collector to FILE (its name ends in .prom).",
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def command(
    folder: Path,
    url: str,
    bundle: Path | None,
    trusted_keys: Sequence[Path],
    flat: bool,
    seal: bool,
    rate: int,
    io_priority: str,
    as_json: bool,
    report: bool,
    node: str,
    spool: Path | None,
    textfile: Path | None,
    cloud: str | None,
    cacert: str | None,
) -> None:
    """Tell what each file in DIR, Nova's `_base`, is, and whether it is what it should be.

    Exit code: 0 all match, 4 something is corrupt, 5 something is unknown or pending, 2 wrong usage, 1 anything else.
    """
    began = time.monotonic()
    settings = read_settings(flat=flat, identify=False, seal=seal, rate=rate, io_priority=io_priority)
    client = open_client(url, cloud, cacert, is_needed=report or bundle is None)
    manifests = open_manifests(client, bundle, trusted_keys)
    reporter = Reporter(client, node, spool or state_folder() / "spool") if report else None
    files = list(list_files(folder.absolute()))
    verdicts: list[FileVerdict] = []
    unreported: list[FileVerdict] = []
    reported = EXIT_MATCH
    try:
        for found in check(files, manifests, settings, verdict_output(as_json=as_json)):
            verdicts.append(found)
            unreported.append(found)
            if reporter is not None and len(unreported) == AT_ONCE:
                reported |= _keep(reporter, unreported)
                unreported.clear()
    finally:
        if reporter is not None:
            reported |= _keep(reporter, unreported)
    _summarise(verdicts)
    if reporter is not None:
        reported |= _send(reporter)
    exit_code = exit_code_of(found.verdict for found in verdicts) or reported
    if textfile is not None:
        seconds, size = time.monotonic() - began, sum(found.size or 0 for found in verdicts)
        try:
            write_metrics(textfile, [found.verdict for found in verdicts], datetime.now(UTC), seconds, size)
        except UsageError as error:
            if exit_code == EXIT_MATCH:
                raise
            # What was found is worse, and the exit code is for that.
            click.echo(f"manifest-service: {printable(str(error))}", err=True)
    sys.exit(exit_code)


def _keep(reporter: Reporter, verdicts: Sequence[FileVerdict]) -> int:
    """Spool verdicts. Where that fails it is said, and files are checked all the same."""
    try:
        reporter.keep(verdicts)
    except ManifestServiceError as error:
        click.echo(f"manifest-service: {len(verdicts)} verdicts are not reported: {error}", err=True)
        return EXIT_FAILED
    return EXIT_MATCH


def _send(reporter: Reporter) -> int:
    """Send what waits; what could not be sent is said, and is an error of its own if there is no other."""
    try:
        aside = reporter.send()
    except ManifestServiceError as error:
        click.echo(f"manifest-service: not reported: {printable(str(error))}; the verdicts wait in the spool", err=True)
        return EXIT_FAILED
    for path in aside:
        click.echo(f"manifest-service: not reported: the API does not take {printable(str(path))}", err=True)
    return EXIT_FAILED if aside else EXIT_MATCH


def _summarise(verdicts: Sequence[FileVerdict]) -> None:
    counts: dict[str, int] = {}
    for found in verdicts:
        counts[found.verdict] = counts.get(found.verdict, 0) + 1
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda item: -item[1]))
    click.echo(f"{counted(len(verdicts), 'file')}{': ' if told else ''}{told}", err=True)
