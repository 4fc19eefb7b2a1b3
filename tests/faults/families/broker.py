"""RabbitMQ: stopped, killed, its connections cut, its network silent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.faults.families.fault import Fault, Hand, start_again
from tests.faults.site import Site


def faults(site: Site) -> Sequence[Fault]:
    """A broker takes many seconds to start, in which no image can be announced: it seldom has to."""
    return [
        Fault("broker: stopped and started", _stop, lasts=(0.5, 3), weight=0.3),
        Fault("broker: kill -9 and started", _kill, lasts=(0.5, 3), weight=0.3),
        Fault("broker: all connections cut", _cut, weight=3),
        Fault("broker: network silent", _silence, lasts=(1, 5), weight=2),
    ]


@contextmanager
def _stop(hand: Hand) -> Iterator[None]:
    hand.site.broker.stop()
    yield
    start_again(hand.site.broker)


@contextmanager
def _kill(hand: Hand) -> Iterator[None]:
    hand.site.broker.kill()
    yield
    start_again(hand.site.broker)


@contextmanager
def _cut(hand: Hand) -> Iterator[None]:
    hand.tally.add("connections to the broker that were cut", hand.site.broker_proxy.cut())
    yield


@contextmanager
def _silence(hand: Hand) -> Iterator[None]:
    hand.site.broker_proxy.hold()
    yield
    hand.site.broker_proxy.release()
