"""Our processes: killed at any moment and in the middle of an image, stopped in order, frozen beyond their lease."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from sqlalchemy import select

from manifest_service.manifests.work_models import QueueEntry
from tests.faults.families.fault import Fault, Hand
from tests.faults.site import LEASE, Site
from tests.waiting import eventually

_WAIT = 3.0
"""Seconds that a kill waits for its worker to have begun an image."""


def faults(site: Site) -> Sequence[Fault]:
    """Kills come at any moment of a process's life, its start included."""
    return [
        Fault("listener: kill -9", _killing("listener"), weight=3),
        Fault("worker: kill -9", _killing("worker"), weight=3),
        Fault("worker: kill -9 while it computes", _kill_at_work, weight=4),
        Fault("API: kill -9", _killing("api"), weight=2),
        Fault("listener: stopped in order (SIGTERM)", _stopping("listener")),
        Fault("worker: stopped in order (SIGTERM)", _stopping("worker"), weight=2),
        Fault("API: stopped in order (SIGTERM)", _stopping("api")),
        Fault("worker: frozen for longer than its lease", _freezing("worker"), lasts=(LEASE + 1, LEASE + 2)),
        Fault("listener: frozen", _freezing("listener"), lasts=(2, 4)),
    ]


def _killing(kind: str) -> Callable[[Hand], AbstractContextManager[None]]:
    return _signalling(kind, signal.SIGKILL)


def _stopping(kind: str) -> Callable[[Hand], AbstractContextManager[None]]:
    return _signalling(kind, signal.SIGTERM)


def _signalling(kind: str, number: signal.Signals) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        member = hand.rng.choice(hand.site.members(kind, mortal=True))
        with suppress(AssertionError):  # It is being started again.
            eventually(lambda: member.signal(number), _WAIT)
        yield

    return inject


@contextmanager
def _kill_at_work(hand: Hand) -> Iterator[None]:
    workers = hand.site.members("worker", mortal=True)

    def kill_one() -> bool:
        busy = _busy_processes(hand.site)
        return any(member.signal(signal.SIGKILL) for member in workers if busy.intersection(member.pids))

    with suppress(AssertionError):  # Nothing to do for either, or the database is away.
        eventually(kill_one, _WAIT)
        hand.tally.add("computations whose worker was killed")
    yield


def _freezing(kind: str) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        member = hand.rng.choice(hand.site.members(kind, mortal=True))
        member.signal(signal.SIGSTOP)
        yield
        member.signal(signal.SIGCONT)

    return inject


def _busy_processes(site: Site) -> set[int]:
    """Processes that hold an entry of the queue, as its `worker` says: host, process, thread."""
    try:
        with site.database.engine.connect() as connection:
            names = connection.execute(select(QueueEntry.worker).where(QueueEntry.lease.is_not(None))).scalars().all()
    except Exception:
        return set()  # Another fault is at the database.
    return {int(name.split(":")[1]) for name in names if name}
