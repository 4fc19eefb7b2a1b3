"""Each request in the log and in the figures: one line when its answer has ended, with the request id."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from oslo_log import log
from prometheus_client import Counter, Histogram

from manifest_service import logs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = log.getLogger(__name__)

REQUEST_ID_HEADER = "X-Openstack-Request-Id"
GIVEN_ID = "HTTP_X_OPENSTACK_REQUEST_ID"
"""The same header, as WSGI has it: the id that the caller gives, if any."""

REQUEST_ID = "manifest_service.request_id"
RESOURCE = "manifest_service.resource"
"""Keys of the WSGI environment. The resource is the pattern of its path, so that there are few."""

MAX_PATH = 1000
"""Characters of a path and its query that are logged."""
_SAFE_IN_PATH = "/:@!$&'()*+,;=~-._"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?%"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
WATCHING = frozenset({"/healthcheck", "/metrics"})
"""Resources that machines ask every few seconds: logged where they fail, else at the level of debugging."""

REQUESTS = Counter(
    "manifest_service_requests", "Requests that this process has answered.", ["method", "resource", "status"]
)
REQUEST_SECONDS = Histogram(
    "manifest_service_request_seconds",
    "Time from a request's coming in to its answer's last byte.",
    ["resource"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)


class AccessLog:
    """WSGI middleware around the application: the answers that are made while they are read have their end here."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        """Answer one request, and log it when its answer has ended or nobody reads it any more."""
        answer = _Answer(environ)
        with logs.within_request(environ.get(GIVEN_ID)) as request_id, ExitStack() as ending:
            ending.callback(answer.log)
            environ[REQUEST_ID] = request_id
            parts = self._application(environ, answer.noting(start_response))
            _close_at_end(ending, parts)
            for part in parts:
                answer.size += len(part)
                yield part


class _Answer:
    """What is told of one request. size: bytes of the body so far."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ
        self._begin = time.monotonic()
        self._status = "500"
        self.size = 0

    def noting(self, start_response: StartResponse) -> StartResponse:
        """`start_response`, with the status noted."""

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            self._status = status.partition(" ")[0]
            return start_response(status, headers, *rest)

        return start

    def log(self) -> None:
        """Write the line, and count."""
        seconds = time.monotonic() - self._begin
        given = self._environ["REQUEST_METHOD"]
        method, resource = given if given in _METHODS else "other", self._environ.get(RESOURCE, "none")
        REQUESTS.labels(method, resource, self._status).inc()
        REQUEST_SECONDS.labels(resource).observe(seconds)
        level = log.DEBUG if resource in WATCHING and self._status == "200" else log.INFO
        LOG.log(
            level,
            "%s %s status: %s bytes: %d seconds: %.4f caller: %s",
            method,
            _path(self._environ),
            self._status,
            self.size,
            seconds,
            self._environ.get("REMOTE_ADDR", "-"),
        )


def _path(environ: WSGIEnvironment) -> str:
    """The path and the query as the caller wrote them, with everything quoted that has no business there."""
    path = quote(environ.get("PATH_INFO", "").encode("latin-1", "replace"), safe=_SAFE_IN_PATH)
    query = quote(environ.get("QUERY_STRING", "").encode("latin-1", "replace"), safe=_SAFE_IN_QUERY)
    return f"{path}?{query}"[:MAX_PATH] if query else path[:MAX_PATH]


def _close_at_end(ending: ExitStack, parts: Iterable[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        ending.callback(close)
