"""Stores that are slow, break off, or are down."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.faults.families.fault import Fault, Hand
from tests.faults.site import Site


def faults(site: Site) -> Sequence[Fault]:
    """Of the web server: a file store's trouble is the disk's."""
    return [
        Fault("store: silent in the middle of its answers", _stall, lasts=(1, 5), weight=3),
        Fault("store: answers broken off", _cut, lasts=(1, 3), weight=3),
        Fault("store: down (503)", _fail, lasts=(1, 3), weight=2),
    ]


@contextmanager
def _stall(hand: Hand) -> Iterator[None]:
    hand.site.stores.serves.clear()
    yield
    hand.site.stores.serves.set()


@contextmanager
def _cut(hand: Hand) -> Iterator[None]:
    stores, count = hand.site.stores, hand.rng.randrange(1, 6)
    stores.cut = count
    yield
    hand.tally.add("answers of the store that were broken off", count - stores.cut)
    stores.cut = 0


@contextmanager
def _fail(hand: Hand) -> Iterator[None]:
    hand.site.stores.fails = True
    yield
    hand.site.stores.fails = False
