"""Clocks that are wrong and that jump: a worker's, and the database's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests.faults.families.fault import Fault, Hand
from tests.faults.site import LEASE, Clock, Site

HOUR = 3600
STEP_BACK = 3
"""Seconds. What waits for its time waits as much longer when the database's clock is set back: an hour, if so far."""


def faults(site: Site) -> Sequence[Fault]:
    """None where there is no compiler for clock.c."""
    found = []
    if site.worker_clock is not None:
        found += [
            Fault("worker: clock an hour ahead", _moving(site.worker_clock, HOUR), lasts=(LEASE, LEASE + 2)),
            Fault("worker: clock an hour behind", _moving(site.worker_clock, -HOUR), lasts=(LEASE, LEASE + 2)),
            Fault("worker: clock jumps", _jumping(site.worker_clock)),
        ]
    if site.database_clock is not None:
        found += [
            Fault("database: clock jumps an hour ahead", _stepping(site.database_clock, HOUR)),
            Fault(f"database: clock set back {STEP_BACK} s", _stepping(site.database_clock, -STEP_BACK)),
        ]
    return found


def _moving(clock: Clock, seconds: int) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        clock.move(seconds)
        yield
        clock.move(0)

    return inject


def _jumping(clock: Clock) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        clock.move(hand.rng.randrange(-HOUR, HOUR))
        yield

    return inject


def _stepping(clock: Clock, seconds: int) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        clock.move(clock.moved + seconds)
        yield

    return inject
