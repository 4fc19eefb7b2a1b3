"""HTTP whose answers begin within a time, however little the server says at a time.

The time limits of sockets hold between two parts of an answer. A server that sends a byte now and then, or one
`100 Continue` after another, which http.client reads until something else comes, would hold a node for ever.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

LONGEST_BEGINNING = 30.0
"""Seconds from the request to the end of the answer's headers."""


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until a moment; the socket's own time limit holds between two parts as ever."""

    def __init__(self, raw: io.RawIOBase, deadline: float) -> None:
        self._raw = raw
        self.deadline: float | None = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError("the answer does not begin")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimelyResponse(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the status and the headers. Raises TimeoutError."""
        watched = _UntilDeadline(self.fp.detach(), time.monotonic() + LONGEST_BEGINNING)
        self.fp = io.BufferedReader(watched)
        super().begin()
        watched.deadline = None


class _TimelyConnection(HTTPConnection):
    response_class = _TimelyResponse


class _TimelyTlsConnection(HTTPSConnection):
    response_class = _TimelyResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _TimelyConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimelyTlsConnection


class TimelyAdapter(HTTPAdapter):
    """For a session of requests."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make connections of our kind."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
