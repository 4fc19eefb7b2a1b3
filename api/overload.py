"""How many requests a process answers at a time and how many may wait; the rest is told 503 at once.

Without this, what comes in faster than it is answered piles up until every caller has given up before its turn comes.
Our own server decides it before a request gets a thread (`dispatching.py`). The gate here is WSGI middleware and holds
under every server that has more threads than are to be at work: the others wait, or say that there is no room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from oslo_log import log
from prometheus_client import Counter
from werkzeug.wsgi import ClosingIterator

from api.access import GIVEN_ID, WATCHING
from api.problems import outside_application
from manifest_service import logs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = log.getLogger(__name__)

LONGEST_WAIT = 10.0
"""Seconds that a request waits for its turn: nodes give up after 30, and its answer takes time, too."""
RETRY_AFTER = "2"
"""Seconds; far longer than a full backlog of ordinary questions takes."""
WATCHERS = 2
"""Of requests that watch over the process, so many are answered at a time, and as many wait: what tells an operator
that there is too much to do is not to wait behind it."""
_SILENCE = 10.0
"""Seconds between two lines in the log."""

_REJECTED = Counter(
    "manifest_service_api_overloaded", "Requests that were told 503 since others were at work and waiting."
)


def is_watching(path: str) -> bool:
    """Whether a request is one that watches over the process."""
    return path in WATCHING


def answer(given_id: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a 503. given_id: what the caller says is the request's id."""
    headers, body = outside_application(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "overloaded",
        "more requests have come than can be answered now",
        logs.choose_request_id(given_id),
        next_step=f"Ask again in {RETRY_AFTER} seconds or later.",
    )
    return [*headers, ("Retry-After", RETRY_AFTER)], body


class Rejections:
    """Counts them, and logs them from time to time: a line for each would be one more thing to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._untold = 0
        self._told_at = float("-inf")

    def add(self) -> None:
        """One more."""
        _REJECTED.inc()
        with self._lock:
            self._untold += 1
            now = time.monotonic()
            if now - self._told_at < _SILENCE:
                return
            count, self._untold, self._told_at = self._untold, 0, now
        LOG.warning("overloaded: %d requests were told 503; [api] threads and backlog say how many have room", count)


class OverloadGate:
    """Lets as many requests through as are wanted; those that watch over the process have places of their own."""

    def __init__(self, application: WSGIApplication, at_work: int, waiting: int) -> None:
        """at_work: requests that are answered at a time. waiting: those that may wait for one of them to end."""
        self._application = application
        self._ordinary = _Lane(at_work, waiting)
        self._watching = _Lane(WATCHERS, WATCHERS)
        self._rejections = Rejections()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        lane = self._watching if is_watching(environ.get("PATH_INFO", "")) else self._ordinary
        if not lane.enter():
            return self._reject(environ, start_response)
        try:
            body = self._application(environ, start_response)
        except BaseException:
            lane.leave()
            raise
        # An answer that is made while it is read is at work until its end.
        return ClosingIterator(body, lane.leave)

    def _reject(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._rejections.add()
        headers, body = answer(environ.get(GIVEN_ID, ""))
        start_response("503 Service Unavailable", headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


class _Lane:
    """Some requests at work, and some that wait for one of them to end."""

    def __init__(self, at_work: int, waiting: int) -> None:
        self._room = threading.BoundedSemaphore(at_work + waiting)
        self._work = threading.BoundedSemaphore(at_work)

    def enter(self) -> bool:
        """Whether it is this request's turn now, after waiting if need be; then `leave` must be called."""
        if not self._room.acquire(blocking=False):
            return False
        if self._work.acquire(timeout=LONGEST_WAIT):
            return True
        self._room.release()
        return False

    def leave(self) -> None:
        self._work.release()
        self._room.release()
