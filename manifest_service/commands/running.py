"""Running parts of the service in the foreground until a signal asks for the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
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


class Signals:
    """Takes note of signals from its making on: SIGTERM and SIGINT ask for the end, and end the process if sent again.

    Made before anything starts, so that none of them ends what has just begun.
    """

    def __init__(self, reload: Callable[[], None] | None = None) -> None:
        """reload: called for each SIGHUP, by `wait`; without it, SIGHUP is left as it is."""
        self._asked, self._hung_up = threading.Event(), threading.Event()
        self._reload = reload
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        if reload is not None:
            signal.signal(signal.SIGHUP, lambda number, frame: self._hung_up.set())

    def wait(self) -> None:
        """Return when the end is asked for."""
        # With an end: a signal that the kernel gives to another thread does not wake this one, and only this one runs
        # handlers.
        while not self._asked.wait(LOOK):
            if self._reload is not None and self._hung_up.is_set():
                self._hung_up.clear()
                self._reload()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked.set()
        signal.signal(number, signal.SIG_DFL)
