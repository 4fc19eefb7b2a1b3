"""The database: stopped, killed, its sessions ended, its network cut or silent, its answer to a commit lost."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.faults.families.fault import Fault, Hand, start_again
from tests.faults.site import Site

_SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
_END = {"postgresql": "SELECT pg_terminate_backend(:session)", "mysql": "KILL :session"}


def faults(site: Site) -> Sequence[Fault]:
    """What an operator, a network and a power cut do to it."""
    return [
        Fault("database: stopped and started", _stop, lasts=(0.5, 4)),
        Fault("database: kill -9 and started", _kill, lasts=(0.5, 4)),
        Fault("database: all sessions ended by its operator", _end_sessions, weight=2),
        Fault("database: all connections cut", _cut, weight=2),
        Fault("database: network silent", _silence, lasts=(1, 8), weight=2),
        Fault("database: committed, and the answer lost", _lose_commits, lasts=(0.5, 2), weight=4),
    ]


@contextmanager
def _stop(hand: Hand) -> Iterator[None]:
    hand.site.server.stop()
    yield
    start_again(hand.site.server)


@contextmanager
def _kill(hand: Hand) -> Iterator[None]:
    hand.site.server.kill()
    yield
    start_again(hand.site.server)


@contextmanager
def _end_sessions(hand: Hand) -> Iterator[None]:
    engine = create_engine(hand.site.url)
    # It may be recovering from the fault before.
    with suppress(SQLAlchemyError), engine.connect() as connection:
        dialect = engine.dialect.name
        for session in connection.execute(text(_SESSIONS[dialect])).scalars().all():
            with suppress(SQLAlchemyError):  # It left by itself.
                connection.execute(text(_END[dialect]), {"session": session})
                hand.tally.add("sessions of the database that were ended")
    engine.dispose()
    yield


@contextmanager
def _cut(hand: Hand) -> Iterator[None]:
    hand.tally.add("connections to the database that were cut", hand.site.database_proxy.cut())
    yield


@contextmanager
def _silence(hand: Hand) -> Iterator[None]:
    hand.site.database_proxy.hold()
    yield
    hand.site.database_proxy.release()


@contextmanager
def _lose_commits(hand: Hand) -> Iterator[None]:
    proxy = hand.site.database_proxy
    before = proxy.lost_commits
    proxy.lose_commits(hand.rng.randrange(1, 8))
    yield
    proxy.lose_commits(0)
    hand.tally.add("commits whose answer was lost", proxy.lost_commits - before)
