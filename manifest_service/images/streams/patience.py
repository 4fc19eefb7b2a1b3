"""How long a store may be silent, and how often it is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TRIES = 5
"""Answers in a row that may fail without a byte beyond those before; one that brings more begins the count anew."""
LONGEST_PAUSE = 30.0
LOOK = 0.2
"""Seconds between two looks whether the computation is still wanted, while nothing comes."""


def no_tick() -> None:
    """Tick nobody."""


@dataclass(frozen=True)
class Patience:
    """silence: seconds without a byte after which an answer counts as broken. pause: seconds before the second try.

    The pause doubles for each further try. tick: called several times a second meanwhile; what it raises is passed on.
    """

    silence: float = 60.0
    pause: float = 0.5
    tick: Callable[[], None] = no_tick

    def rest(self, failures: int) -> None:
        """Pause after so many failures in a row."""
        end = time.monotonic() + min(self.pause * 2 ** (failures - 1), LONGEST_PAUSE)
        while (left := end - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(left, LOOK))
        self.tick()
