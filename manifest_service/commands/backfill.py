"""`manifest-service backfill`: take in the images that Glance had before, or of which nobody told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from manifest_service.commands.counting import counting
from manifest_service.commands.duty_wiring import (
    EXIT_INTERRUPTED,
    asking_glance,
    make_sharing,
    require_glance,
    run_now,
    stopping,
)
from manifest_service.commands.printing import printable
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database
from manifest_service.images.glance_list import Cursor, ListFilter
from manifest_service.processing.backfill import Backfill, Tally, Walk


@click.command("backfill")
@config_option
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    metavar="TIME",
    help="Only images that changed at this time (UTC) or later: 2026-11-25, or 2026-11-25T12:00:00Z.",
)
@click.option("--owner", metavar="PROJECT", help="Only this project's images.")
@click.option("--visibility", type=click.Choice(["public", "community", "shared", "private"]), help="Only such images.")
@click.option("--status", metavar="STATUS", help="Only images of this status in Glance.")
@click.option("--disk-format", metavar="FORMAT", help="Only images of this format.")
@click.option("--dry-run", is_flag=True, help="Take nothing in; only say what would be.")
@click.option("--rate", type=click.FloatRange(min=0), help="Images a second at most; by default [reconcile] rate.")
@click.option(
    "--resume/--restart",
    default=True,
    help="Go on where a walk of the same images was broken off (the default), or not.",
)
def command(
    config_files: Sequence[str],
    since: datetime | None,
    owner: str | None,
    visibility: str | None,
    status: str | None,
    disk_format: str | None,
    dry_run: bool,
    rate: float | None,
    resume: bool,
) -> None:
    """Go through Glance's list of images, hidden ones too, and queue those that have no manifest yet.

    It may be stopped at any time, and goes on where it was. Nothing is ever marked as deleted: `reconcile` does that.

    Exit code: 0 the list was gone through, 130 stopped before its end, 2 wrong usage, 1 anything else.
    """
    conf = load_config(config_files)
    wanted = ListFilter(None if since is None else since.replace(tzinfo=UTC), owner, visibility, status, disk_format)
    images_a_second = conf.reconcile.rate if rate is None else rate
    tally: Tally | None
    with stopping() as stop, needing_database(), asking_glance():
        database, images = open_database(conf), require_glance(conf, stop)
        with counting("walking", None) as advance:
            if dry_run:
                tally = Tally()
                walk = Walk(database, images, stop.wait, rate=images_a_second, dry_run=True)
                for page in walk.pages(Cursor(), wanted):
                    tally.add(page.tally)
                    advance(page.tally.seen)
                    if stop.is_set():
                        break
            else:
                sharing = make_sharing(conf, database, images)
                work = Backfill(
                    lambda kept: Walk(database, images, kept.wait, rate=images_a_second, sharing=sharing),
                    wanted,
                    resume=resume,
                )
                work.on_page = lambda part: advance(part.seen)
                run_now(conf, database, work, stop)
                tally = work.tally
                if work.resumed:
                    click.echo("went on where the last walk of the same images was broken off", err=True)
    _print(tally, dry_run=dry_run)
    if stop.is_set():
        click.echo("stopped before the end of the list" + ("" if dry_run else "; run it again to go on"), err=True)
        sys.exit(EXIT_INTERRUPTED)


def _print(tally: Tally, *, dry_run: bool) -> None:
    click.echo(f"seen:      {tally.seen}")
    click.echo(f"new:       {tally.new}  ({'would be queued' if dry_run else 'queued'})")
    click.echo(f"changed:   {tally.changed}")
    click.echo(f"unchanged: {tally.unchanged}")
    for reason, count in sorted(tally.skipped.items()):
        if count:
            click.echo(f"skipped:   {count}  ({printable(reason)})")
