"""The schema's version: what a database has, what this code needs, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from manifest_service.errors import UsageError
from manifest_service.manifests.database import Database

VERSION_TABLE = "manifest_service_version"
"""A name of our own, so that Glance's `alembic_version` in the same database is never taken for ours."""


def current_version(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return _version_of(connection)


def newest_version() -> str:
    """The revision that this code needs."""
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def upgrade(database: Database) -> None:
    """Bring the database to the newest revision; one that is there already stays as it is.

    Raises UsageError for a database that belongs to somebody else.
    """
    with database.engine.begin() as connection:
        if _version_of(connection) is None:
            _refuse_foreign_tables(connection, database)
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(database: Database) -> None:
    """Raise UsageError unless the database has the schema that this code needs."""
    found, needed = current_version(database), newest_version()
    if found != needed:
        raise UsageError(
            "schema-not-current",
            f"the database's schema is at {found or 'nothing'}, this version needs {needed}:"
            " run `manifest-service db upgrade`",
        )


def _version_of(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _refuse_foreign_tables(connection: Connection, database: Database) -> None:
    """A forgotten `[database] connection` beside a glance-api.conf points at Glance's own database: leave it alone."""
    tables = sorted(inspect(connection).get_table_names())
    if tables:
        raise UsageError(
            "foreign-database",
            f"{database.url.render_as_string()} holds {len(tables)} tables of somebody else ({tables[0]}, …):"
            " give [database] connection a database of our own",
        )


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
