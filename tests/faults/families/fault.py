"""One fault: what is done, for how long, and how often it took effect."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.faults.site import Site
from tests.servers.process import Server, ServerFailedError

_STARTS = 2


def start_again(server: Server) -> None:
    """Start a server that was stopped, killed, or gave up; once more where it ends while it starts."""
    for left in reversed(range(_STARTS)):
        try:
            server.start()
        except ServerFailedError:
            if not left:
                raise
        else:
            return


@dataclass
class Tally:
    """How often each fault took effect, by its name."""

    counts: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, count: int = 1) -> None:
        """Count. Threads share it."""
        with self._guard:
            self.counts[name] += count


@dataclass(frozen=True)
class Hand:
    """What a fault works with. tally: for what is to be counted beside the injection itself."""

    site: Site
    rng: random.Random
    tally: Tally


@dataclass(frozen=True)
class Fault:
    """inject: does it on entering, and puts it right on leaving. lasts: seconds between the two, least and most.

    weight: how often it is drawn, against the others.
    """

    name: str
    inject: Callable[[Hand], AbstractContextManager[None]]
    lasts: tuple[float, float] = (0, 0)
    weight: float = 1
