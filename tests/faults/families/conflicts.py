"""Conflicts in the database: real deadlocks, waits for locks that end, and commits refused as Galera refuses them."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.faults.families.fault import Fault, Hand
from tests.faults.site import LOCK_WAIT, Site

_ROUNDS = 6
_GAP = 0.25
"""Seconds between the two locks: long enough for others to come and wait for the first."""
_DEADLOCKS = {
    "postgresql": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    "mysql": "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'",
}


def faults(site: Site) -> Sequence[Fault]:
    """PostgreSQL waits for a lock without end, and is no Galera."""
    mariadb = [
        Fault("database: wait for a lock ended (1205)", _hold_locks, lasts=(LOCK_WAIT + 0.5, LOCK_WAIT + 2), weight=2),
        Fault("database: commit refused as by Galera (1213)", _reject_commits, lasts=(0.5, 2), weight=4),
    ]
    deadlocks = Fault("database: deadlocks", _provoke_deadlocks, weight=4)
    return [deadlocks, *mariadb] if site.database.engine.dialect.name == "mysql" else [deadlocks]


@contextmanager
def _provoke_deadlocks(hand: Hand) -> Iterator[None]:
    """Lock what a worker locks, in the other order: first the images, then the entries of the queue."""
    engine = create_engine(hand.site.url)
    over = threading.Event()
    with suppress(SQLAlchemyError):  # The database may have gone meanwhile.
        with engine.connect() as connection:
            before = _deadlocks(connection)
            for _ in range(_ROUNDS):
                with suppress(SQLAlchemyError), connection.begin():
                    _lock_images(connection)
                    over.wait(_GAP)
                    connection.execute(text("SELECT manifest_id FROM queue_entries FOR UPDATE"))
                connection.rollback()
        with engine.connect() as connection:  # Sessions of PostgreSQL report their figures when they end.
            hand.tally.add("deadlocks, as the database counts them", _deadlocks(connection) - before)
    engine.dispose()
    yield


@contextmanager
def _hold_locks(hand: Hand) -> Iterator[None]:
    engine = create_engine(hand.site.url)
    with engine.connect() as connection:
        with suppress(SQLAlchemyError):  # Of a deadlock, the victim may be this one.
            _lock_images(connection)
        yield
    engine.dispose()


@contextmanager
def _reject_commits(hand: Hand) -> Iterator[None]:
    proxy = hand.site.database_proxy
    before = proxy.rejected_commits
    proxy.reject_commits(hand.rng.randrange(1, 12))
    yield
    proxy.reject_commits(0)
    hand.tally.add("commits refused as by Galera", proxy.rejected_commits - before)


def _lock_images(connection: Connection) -> None:
    connection.execute(text("SELECT id FROM images WHERE status IN ('pending', 'computing') ORDER BY id FOR UPDATE"))


def _deadlocks(connection: Connection) -> int:
    count = int(connection.execute(text(_DEADLOCKS[connection.dialect.name])).scalar_one())
    connection.rollback()
    return count
