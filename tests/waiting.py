"""Waiting for what happens elsewhere: ask again until it is so, with a deadline; never a blind pause."""

import time
from collections.abc import Callable

PAUSE = 0.02
"""Seconds between two looks."""


def eventually(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Return as soon as `condition` holds. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"this did not come true within {timeout} seconds: {condition}")
        time.sleep(PAUSE)
