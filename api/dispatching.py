"""Which thread of our own server answers a request, and which requests there is no room for.

Waitress has one queue of any length. Here it has an end, what watches over the process does not wait in it, and what
finds it full is told so by a thread that does nothing else.
"""

from __future__ import annotations

import time
from typing import Any

from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

from api import overload

_LOOK = 0.001
"""Seconds between two looks at threads that start."""


class Overloaded(Error):  # type: ignore[misc]
    """The error of a request that finds no room."""

    code = 503
    reason = "Service Unavailable"


class Dispatcher:
    """Gives requests to threads: what waitress's server asks of its own one."""

    def __init__(self, threads: int, backlog: int) -> None:
        """threads: requests that are answered at a time. backlog: those that may wait."""
        self._backlog = backlog
        self._answering, self._watching, self._refusing = (ThreadedTaskDispatcher() for _ in range(3))
        self._answering.set_thread_count(threads)
        self._watching.set_thread_count(overload.WATCHERS)
        self._refusing.set_thread_count(1)
        self._rejections = overload.Rejections()
        self._wait_until_all_are_idle()

    def add_task(self, connection: Any) -> None:
        """Take in a connection whose first request is to be answered."""
        request = connection.requests[0]
        request.came_at = time.monotonic()
        is_watching = not request.error and overload.is_watching(request.path)
        threads, backlog = (self._watching, overload.WATCHERS) if is_watching else (self._answering, self._backlog)
        if not request.error and not _has_room(threads, backlog):
            self._refuse(request)
        (self._refusing if request.error else threads).add_task(connection)

    def refuse_late(self) -> None:
        """Give up those that have waited for too long. To be called every second or so."""
        latest = time.monotonic() - overload.LONGEST_WAIT
        for threads in (self._answering, self._watching):
            with threads.lock:
                while threads.queue and threads.queue[0].requests[0].came_at < latest:
                    connection = threads.queue.popleft()
                    self._refuse(connection.requests[0])
                    self._refusing.add_task(connection)

    def shutdown(self) -> None:
        """End all threads."""
        for each in (self._answering, self._watching, self._refusing):
            each.shutdown()

    def _wait_until_all_are_idle(self) -> None:
        """A thread counts as at work until it has run for the first time: nobody is to be refused for that."""
        for each in (self._answering, self._watching, self._refusing):
            while _idle(each) < len(each.threads):
                time.sleep(_LOOK)

    def _refuse(self, request: Any) -> None:
        self._rejections.add()
        request.error = Overloaded("")


def _has_room(threads: ThreadedTaskDispatcher, backlog: int) -> bool:
    # With the lock: a thread that takes one at this moment counts as idle before, and its request as gone afterwards.
    with threads.lock:
        # Those that an idle thread takes in a moment do not wait.
        return len(threads.queue) < backlog + _idle(threads)


def _idle(threads: ThreadedTaskDispatcher) -> int:
    idle: int = len(threads.threads) - threads.stop_count - threads.active_count
    return idle
