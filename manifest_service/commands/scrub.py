"""`manifest-service scrub`: read sources again now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from uuid import UUID

import click

from manifest_service.commands.duty_wiring import EXIT_INTERRUPTED, find_glance, make_scrub, run_now, stopping
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database
from manifest_service.errors import UsageError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import scrubbing
from manifest_service.manifests.database import Database

EXIT_CHANGED = 4
EXIT_UNREADABLE = 5


@click.command("scrub")
@config_option
@click.option(
    "--image-id",
    type=click.UUID,
    metavar="ID",
    help="Read this image alone, whenever it was read last, beside the budget.",
)
def command(config_files: Sequence[str], image_id: UUID | None) -> None:
    """Read sources again that are due, and compare them with what their manifests are of.

    It keeps to the day's budget; where [scrub] bytes_per_day is 0, there is no limit here.

    Workers do so by themselves, as [scrub] says.

    Exit code: 0 nothing new was found, 4 something has changed (`GET /v1/events?kind=source-changed` says what), 5
    something could not be read, 130 stopped, 2 wrong usage, 1 anything else.
    """
    conf = load_config(config_files)
    with stopping() as stop, needing_database():
        database = open_database(conf)
        wanted = None if image_id is None else _require_manifest(database, str(image_id))
        work = make_scrub(conf, database, ImageStores(conf), find_glance(conf, stop), wanted)
        outcome = run_now(conf, database, work, stop)
    if outcome is None:
        sys.exit(EXIT_INTERRUPTED)
    for name in ("images", "bytes", "changed", "unreadable"):
        click.echo(f"{name + ':':<11} {outcome[name]}")
    if outcome["changed"]:
        sys.exit(EXIT_CHANGED)
    sys.exit(EXIT_UNREADABLE if outcome["unreadable"] else 0)


def _require_manifest(database: Database, image_id: str) -> str:
    """The image's id. Raises UsageError where there is nothing to compare its source with."""
    if database.transaction(lambda session: scrubbing.of_image(session, image_id)) is None:
        raise UsageError(
            "no-manifest",
            f"image {image_id} has no ready manifest that was computed here: there is nothing to compare with",
        )
    return image_id
