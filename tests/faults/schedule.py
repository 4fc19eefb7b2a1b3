"""Drawing faults: each once in a random order, then on by weight, until the stream is over."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Self

from tests.faults.families.fault import Fault, Hand, Tally
from tests.faults.site import Site


class Schedule:
    """Injects one fault after the other, in a thread of its own, from entering to leaving a `with` block."""

    def __init__(
        self, site: Site, faults: Sequence[Fault], tally: Tally, seed: str, pause: tuple[float, float]
    ) -> None:
        """seed: of the order, the pauses, and all that a fault draws. pause: seconds between two, least and most."""
        self._faults = faults
        self._rng = random.Random(seed)
        self._hand = Hand(site, self._rng, tally)
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"schedule-{seed}")
        self._error: BaseException | None = None
        self.was_through = threading.Event()
        """Set when each fault has come once."""
        self.told: list[tuple[float, str]] = []
        """What was injected, at which second."""

    def __enter__(self) -> Self:
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            deck = list(self._faults)
            self._rng.shuffle(deck)
            for fault in deck:
                if self._over.is_set():
                    return
                self._inject(fault)
            self.was_through.set()
            weights = [fault.weight for fault in self._faults]
            while not self._over.is_set():
                self._inject(self._rng.choices(self._faults, weights)[0])
        except BaseException as error:
            self._error = error
            self.was_through.set()

    def _inject(self, fault: Fault) -> None:
        lasts = self._rng.uniform(*fault.lasts)
        self.told.append((time.monotonic() - self._begin, fault.name))
        with fault.inject(self._hand):
            self._hand.tally.add(fault.name)
            self._over.wait(lasts)
        self._over.wait(self._rng.uniform(*self._pause))
