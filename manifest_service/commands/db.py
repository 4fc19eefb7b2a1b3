"""`manifest-service db …`: look after the database's schema."""

from __future__ import annotations

from collections.abc import Sequence

import click

from manifest_service.commands.wiring import config_option, connect_database, load_config, needing_database
from manifest_service.manifests import schema


@click.group("db")
def command() -> None:
    """Look after the database's schema."""


@command.command("upgrade")
@config_option
def upgrade(config_files: Sequence[str]) -> None:
    """Bring the schema to this version's; do it before the new version's processes start."""
    database = connect_database(load_config(config_files))
    with needing_database():
        before = schema.current_version(database)
        schema.upgrade(database)
        click.echo(f"schema: {before or 'empty'} -> {schema.current_version(database)}")


@command.command("version")
@config_option
def version(config_files: Sequence[str]) -> None:
    """Say which schema the database has and which one this version needs; exit code 1 where they differ."""
    database = connect_database(load_config(config_files))
    with needing_database():
        found, needed = schema.current_version(database), schema.newest_version()
    click.echo(f"found: {found or 'empty'}\nneeded: {needed}")
    raise SystemExit(0 if found == needed else 1)
