"""Running parts of the service in the foreground until a signal asks for the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Protocol

LOOK = 0.5
"""Seconds after which a signal is noticed at the latest."""


class Part(Protocol):
    """Something that works in threads of its own."""

    def start(self) -> None:
        """Begin to work, and return."""
        ...

    def stop(self) -> None:
        """End in good order, and return when it has ended."""
        ...


@contextmanager
def running(parts: Sequence[Part]) -> Iterator[None]:
    """Start parts in order; on leaving, stop those that were started, the last one first."""
    with ExitStack() as started:
        for part in parts:
            part.start()
            started.callback(part.stop)
        yield


def wait_for_signal() -> None:
    """Return when SIGTERM or SIGINT comes; a second one ends the process at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    # With an end: a signal that the kernel gives to another thread does not wake this one, which alone runs handlers.
    while not asked.wait(LOOK):
        pass
