"""`manifest-service status`: how the service stands, on all hosts, and what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from oslo_config import cfg

from manifest_service.commands.expecting import expectations
from manifest_service.commands.status_report import Report, as_json, as_sections
from manifest_service.commands.status_table import print_coloured, print_plain
from manifest_service.commands.wiring import config_option, load_config
from manifest_service.errors import UsageError
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.processing import overview
from manifest_service.processing.diagnosis import Check, Problem, diagnose

EXIT_PROBLEM = 1


@click.command("status")
@config_option
@click.option("--json", "json_wanted", is_flag=True, help="Print one JSON document; see docs/status.schema.json.")
def command(config_files: Sequence[str], json_wanted: bool) -> None:
    """Show the queue, who works at what, what failed and what was found, and say what is wrong and what to do.

    It asks the database, so that it works while the API does not. Where a problem is listed, somebody should act; a
    notice is only good to know.

    Exit code: 0 no problem, 1 a problem, or the database cannot be asked, 2 wrong usage.
    """
    report = look(load_config(config_files))
    if json_wanted:
        click.echo(json.dumps(as_json(report)))
    elif sys.stdout.isatty():
        print_coloured(as_sections(report))
    else:
        print_plain(as_sections(report))
    sys.exit(0 if report.is_healthy else EXIT_PROBLEM)


def look(conf: cfg.ConfigOpts) -> Report:
    """Read the overview and judge it; a database that cannot be asked is a problem like others."""
    try:
        database = Database(conf.database.connection, connect_retries=0)
    except DatabaseAway as error:
        return Report(None, [_away(error)])
    try:
        schema.require_current(database)
        seen = database.transaction(overview.read)
    except DatabaseAway as error:
        return Report(None, [_away(error)])
    except UsageError as error:
        return Report(
            None, [Problem(Check.DATABASE, error.code, error.reason, "Upgrade it, then start the processes again.")]
        )
    finally:
        database.close()
    return Report(seen, diagnose(seen, expectations(conf)))


def _away(error: DatabaseAway) -> Problem:
    return Problem(
        Check.DATABASE,
        "database-away",
        f"the database does not answer: {error}",
        "Start it, or correct [database] connection. Until then nothing is computed, recorded or served.",
    )
