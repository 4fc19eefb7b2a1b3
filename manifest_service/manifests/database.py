"""The engine and its transactions: oslo.db's, with every conflict answered by running the whole transaction again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from oslo_db import api as db_api
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from manifest_service.errors import UsageError
from manifest_service.manifests import time_limits

LOG = log.getLogger(__name__)

Result = TypeVar("Result")

CONFLICT_RETRIES = 20
"""Runs of one transaction before a conflict is given up: far beyond what writers of one row need."""
CONFLICT_INTERVAL = 0.05
"""Seconds before the second run; doubled and jittered by oslo.db from there."""

_AS_MANY_AS_THREADS = 0
"""To SQLAlchemy, a pool of this size has no bound: a thread uses one connection at a time, and gives it back."""

# Each gives the database's own clock as seconds since 1970: hosts' clocks differ and jump, leases must not.
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1000000",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


# oslo.db tells a lost connection from other errors; a connection that psycopg cannot make at all it passes on as it is.
_AWAY = (db_exception.DBConnectionError, OperationalError, InterfaceError, PoolTimeout)
_CONFLICTS = (db_exception.DBDeadlock, StaleDataError)


class DatabaseAway(Exception):
    """The database cannot be reached now; what was to be written is not written, and may be tried again later."""


class StatementTooSlow(DatabaseAway):
    """The database took longer for a statement than it may."""


class Database:
    """One engine with its sessions. Threads share it."""

    def __init__(
        self,
        connection: str,
        *,
        connect_retries: int = 10,
        retry_interval: int = 10,
        statement_time: float | None = None,
    ) -> None:
        """Connect.

        connection: an SQLAlchemy URL.
        connect_retries, retry_interval: times and seconds to wait for a database that is not up yet; -1 for ever.
        statement_time: seconds that one statement may take; None where it may take any.
        Raises UsageError for a URL that is none or leads to no database, DatabaseAway where nothing answers.
        """
        self.url = _read_url(connection)
        self.engine = self._connect(connect_retries, retry_interval)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._reader = _make_reader(self.url)
        if statement_time is not None:
            self.engine.dispose()  # It was tried with a connection that knows no limit.
            for engine in (self.engine, self._reader):
                time_limits.limit(engine, statement_time)

    def _connect(self, retries: int, interval: int) -> Engine:
        attempts = itertools.count() if retries == -1 else range(retries + 1)
        for attempt in attempts:
            try:
                return _make_engine(self.url)
            except _AWAY as error:
                if attempt == retries:
                    raise DatabaseAway(plain_error(error)) from error
                LOG.warning(
                    "the database does not answer, asking again in %d seconds: %s", interval, plain_error(error)
                )
                time.sleep(interval)
            except db_exception.DBError as error:
                raise UsageError(
                    "bad-configuration", f"[database] connection leads to no database of ours: {plain_error(error)}"
                ) from error
        raise AssertionError("there is at least one attempt")

    def transaction(self, work: Callable[[Session], Result]) -> Result:
        """Run `work` in one transaction and commit; on a conflict roll back and run it anew.

        work: may be called several times, so it must do nothing that a rollback does not undo.
        Raises StatementTooSlow; DatabaseAway when the connection is lost or cannot be had, the database takes nothing
        just now, or a conflict outlasts all runs.
        """

        @db_api.wrap_db_retry(  # type: ignore[untyped-decorator]
            retry_interval=CONFLICT_INTERVAL,
            max_retries=CONFLICT_RETRIES,
            max_retry_interval=1,
            retry_on_deadlock=True,
            exception_checker=_is_conflict,
            jitter=True,
        )
        def attempt() -> Result:
            with self._sessions.begin() as session:
                return work(session)

        try:
            outcome: Result = attempt()
        except (*_AWAY, *_CONFLICTS) as error:
            raise _why_away(error) from error
        except (db_exception.DBError, DBAPIError) as error:
            if not _is_of_the_moment(error):
                raise
            raise _why_away(error) from error
        return outcome

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work`, which writes nothing, without a transaction: each statement sees what is committed by then.

        That takes one round trip to the database instead of four: for the few questions that are asked all the time,
        and answered by one statement. Raises DatabaseAway when no connection can be had; StatementTooSlow.
        """
        try:
            try:
                with self._reader.connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # Nobody had asked whether the connection still holds. By now the pool has closed all of that age.
                with self._reader.connect() as connection:
                    return work(connection)
        except _AWAY as error:
            raise _why_away(error) from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self._reader.dispose()


def _make_engine(url: URL) -> Engine:
    """Make an engine, and try it. The waiting is ours: oslo.db does not know each driver's sign of a refusal."""
    manager = enginefacade.transaction_context()
    connection = url.render_as_string(hide_password=False)
    # A pool of five, the default, would open connections for the other threads of an API again and again.
    manager.configure(
        connection=connection, sqlite_fk=True, max_retries=1, retry_interval=0, max_pool_size=_AS_MANY_AS_THREADS
    )
    engine: Engine = manager.writer.get_engine()
    if url.get_backend_name() == "sqlite":
        _use_write_ahead_log(engine)
    return engine


def _make_reader(url: URL) -> Engine:
    """An engine for `Database.read`. It does not connect before it is used."""
    return create_engine(url, isolation_level="AUTOCOMMIT", pool_size=_AS_MANY_AS_THREADS, pool_reset_on_return=None)


def _use_write_ahead_log(engine: Engine) -> None:
    """Let readers go on while one writes. The mode stays with the file."""
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def database_now(session: Session) -> datetime:
    """The database's own clock, in UTC: the one clock that all processes share."""
    seconds = session.execute(text(_CLOCKS[session.get_bind().dialect.name])).scalar_one()
    return datetime.fromtimestamp(float(seconds), UTC)


def _is_conflict(error: Exception) -> bool:
    """Whether somebody else wrote the same row at the same time, and a second run can do better."""
    if isinstance(error, StaleDataError | db_exception.DBDuplicateEntry):
        return True
    # SQLite's one writer at a time: https://www.sqlite.org/rescode.html#busy_snapshot
    return isinstance(error, OperationalError) and "database is locked" in str(error)


def _is_of_the_moment(error: Exception) -> bool:
    """Whether what failed has nothing to do with what was written, so that the same may succeed later.

    A standby, or a server that was set read-only for want of room (InternalError, to PostgreSQL); tables that are not
    there while a backup is restored, or rights that are missing (ProgrammingError, by PEP 249).
    """
    if isinstance(error, db_exception.DBNonExistentTable):
        return True
    # oslo.db passes some of them on as they are.
    return isinstance(getattr(error, "inner_exception", error), InternalError | ProgrammingError)


def _why_away(error: Exception) -> DatabaseAway:
    return (StatementTooSlow if time_limits.ran_out(error) else DatabaseAway)(plain_error(error))


def _read_url(connection: str) -> URL:
    """Check what [database] connection says, as far as that goes without connecting. Raises UsageError."""
    try:
        url = make_url(connection)
        if url.get_backend_name() not in _CLOCKS:
            raise ArgumentError(f"the dialect is {url.get_backend_name()}")
        url.get_dialect().import_dbapi()
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except ArgumentError as error:
        raise UsageError(
            "bad-configuration",
            f"[database] connection must be a URL for postgresql+psycopg, mysql+pymysql or sqlite: {error}",
        ) from error
    except ValueError as error:
        # Its own words may quote a password that was not escaped.
        raise UsageError(
            "bad-configuration",
            "[database] connection is no URL that can be read: is the port a number, and is the password escaped?",
        ) from error
    except ModuleNotFoundError as error:
        raise UsageError(
            "not-installed",
            f"[database] connection needs {error.name}: pip install 'manifest-service[postgresql]' or '[mysql]'",
        ) from error
    except OSError as error:
        raise UsageError(
            "bad-configuration",
            f"the folder of [database] connection, {str(error.filename)!r}, cannot be made: {error.strerror}."
            " Without a [database] connection it is that of [DEFAULT] state_path",
        ) from error
    return _with_utf8mb4(url)


def _with_utf8mb4(url: URL) -> URL:
    """MariaDB's `utf8` holds no emoji, and image names do."""
    if url.get_backend_name() == "mysql" and "charset" not in url.query:
        return url.update_query_dict({"charset": "utf8mb4"})
    return url


def plain_error(error: Exception) -> str:
    """What to tell people of it: the driver's own first line, without SQLAlchemy's link and without the statement."""
    return str(getattr(error, "inner_exception", None) or error).splitlines()[0]
