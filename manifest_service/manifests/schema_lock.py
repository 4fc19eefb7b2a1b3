"""One upgrade of the schema at a time, and none that holds everybody up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, text

from manifest_service.errors import UsageError

LOCK_WAIT = 10.0
"""Seconds that a change of a table waits for its lock; meanwhile, others wait behind it."""
OTHERS_UPGRADE = 600
"""Seconds that an upgrade waits for another one to end."""
_NAME = "manifest-service schema"
_NUMBER = 0x6D616E6966657374
"""To PostgreSQL, an advisory lock is a number; this one spells "manifest"."""


@contextmanager
def alone(connection: Connection, lock_wait: float) -> Iterator[None]:
    """Keep other upgrades of this database waiting while the block runs, and have its changes wait for locks so long.

    lock_wait: seconds. Raises UsageError where another upgrade does not end; a change that must wait longer raises
    what the driver raises.
    """
    with _LOCKS[connection.dialect.name](connection, lock_wait):
        yield


@contextmanager
def _postgresql(connection: Connection, lock_wait: float) -> Iterator[None]:
    connection.execute(text(f"SET lock_timeout = {OTHERS_UPGRADE * 1000}"))
    connection.execute(text(f"SELECT pg_advisory_lock({_NUMBER})"))
    connection.execute(text(f"SET lock_timeout = {int(lock_wait * 1000)}"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text(f"SELECT pg_advisory_unlock({_NUMBER})"))
        connection.commit()


@contextmanager
def _mariadb(connection: Connection, lock_wait: float) -> Iterator[None]:
    # Such locks belong to the server, which may hold databases of several of us.
    lock = {"name": f"{_NAME} {connection.engine.url.database}"[:64], "wait": OTHERS_UPGRADE}
    if connection.execute(text("SELECT GET_LOCK(:name, :wait)"), lock).scalar() != 1:
        raise UsageError("upgrade-failed", f"another upgrade has not ended within {OTHERS_UPGRADE} seconds")
    before = connection.execute(text("SELECT @@lock_wait_timeout")).scalar_one()
    connection.execute(text(f"SET SESSION lock_wait_timeout = {max(1, int(lock_wait))}"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text(f"SET SESSION lock_wait_timeout = {int(before)}"))
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), lock)
        connection.commit()


@contextmanager
def _sqlite(connection: Connection, lock_wait: float) -> Iterator[None]:
    connection.execute(text(f"PRAGMA busy_timeout = {OTHERS_UPGRADE * 1000}"))
    # Writes, and so takes the lock of the one writer, until the transaction ends.
    connection.execute(text("PRAGMA user_version = 0"))
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


_LOCKS: dict[str, Callable[[Connection, float], AbstractContextManager[None]]] = {
    "postgresql": _postgresql,
    "mysql": _mariadb,
    "sqlite": _sqlite,
}
