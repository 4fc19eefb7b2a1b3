"""The schema's version: what a database has, what this code needs, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from oslo_db.exception import DBError
from oslo_log import log
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from manifest_service.errors import UsageError
from manifest_service.manifests.database import Database, plain_error
from manifest_service.manifests.schema_lock import LOCK_WAIT, alone

LOG = log.getLogger(__name__)

VERSION_TABLE = "manifest_service_version"
"""A name of our own, so that Glance's `alembic_version` in the same database is never taken for ours."""


def current_version(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one. Raises DatabaseAway."""
    return database.transaction(lambda session: _version_of(session.connection()))


def newest_version() -> str:
    """The revision that this code needs."""
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def upgrade(database: Database, lock_wait: float = LOCK_WAIT) -> None:
    """Bring the database to the newest revision; one that is there already, or newer, stays as it is.

    lock_wait: seconds that one change waits for others to end what they do with a table. They wait behind it.
    Raises UsageError for a database that belongs to somebody else, or to a newer version that this code cannot run
    with, and where another upgrade, or others, hold it up.
    """
    try:
        with database.engine.connect() as connection, alone(connection, lock_wait):
            found = _version_of(connection)
            if found is None:
                _refuse_foreign_tables(connection, database)
            elif _is_newer_and_fits(found, newest_version()):
                return
            else:
                _require_known(found)
            _end_reading(connection)
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (DBAPIError, DBError) as error:
        raise UsageError(
            "upgrade-failed",
            f"the schema is not upgraded: {plain_error(error)}. End what holds the database up (another upgrade, a"
            " long query), and run it again",
        ) from error


def require_current(database: Database) -> None:
    """Raise UsageError unless this code can run with the database's schema: its own, or a newer one that has it all.

    Raises DatabaseAway, too.
    """
    found, needed = current_version(database), newest_version()
    if not fits(found, needed):
        if found is not None:
            _require_known(found)
        raise UsageError(
            "schema-not-current",
            f"the database's schema is at {found or 'nothing'}, this version needs {needed}:"
            " run `manifest-service db upgrade`, of the newest version that is installed anywhere",
        )
    if found != needed:
        LOG.warning("the database's schema is at %s, newer than %s: an upgrade is under way", found, needed)


def fits(found: str | None, needed: str) -> bool:
    """Whether code that needs one revision can run with a database that is at another. found: None for an empty one."""
    return found == needed or (found is not None and _is_newer_and_fits(found, needed))


def _is_newer_and_fits(found: str, needed: str) -> bool:
    """Whether a revision that this code need not know has all that it needs; docs/decisions/migrations.md has the rule.

    A revision is NNNN, or NNNN_needs_MMMM from the first on that took something away which code older than MMMM uses.
    """
    number, _, oldest = found.partition("_needs_")
    ours = needed.partition("_needs_")[0]
    return number.isdecimal() and number > ours and oldest <= ours


def _end_reading(connection: Connection) -> None:
    """Let Alembic give each revision a transaction of its own; SQLite has one for all, which is what locks it."""
    if connection.dialect.name != "sqlite":
        connection.commit()


def _require_known(found: str) -> None:
    """Raise UsageError for a revision that only a newer version has, which alone knows the way."""
    if found not in {each.revision for each in ScriptDirectory.from_config(_alembic()).walk_revisions()}:
        raise UsageError(
            "schema-not-current",
            f"the database's schema is at {found}, which this version does not know: a newer one has upgraded it;"
            " install that version here, too",
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
