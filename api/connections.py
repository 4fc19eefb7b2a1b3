"""One connection to the API's own server: what waitress leaves open of how a client may behave.

Waitress reads a request before it takes a thread for it, and drops a client that is silent. A client may also be slow:
send a byte from time to time, or take one. So a request has a time in which it must be whole, and an answer a pace at
which it must be taken. And whatever another server in front might read otherwise than we do is refused (RFC 9112,
section 6.1, and section 11.2 on request smuggling).
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask

from api import overload
from api.access import GIVEN_ID
from api.problems import outside_application
from manifest_service import logs

LONGEST_SILENCE = 30.0
"""Seconds between an answer and the first byte of the next request."""
LONGEST_REQUEST = 30.0
"""Seconds between the first and the last byte of a request."""
PACE = 4096
"""Bytes a second that a reader must take of its answer, on average over `PACE_TIME`."""
PACE_TIME = 30.0

_ERRORS = {
    HTTPStatus.BAD_REQUEST: ("bad-request", "this is no request that HTTP/1.1 allows"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("body-too-large", "the body has more bytes than [api] max_body allows"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("headers-too-large", "the first line and the headers are too long"),
    HTTPStatus.NOT_IMPLEMENTED: ("unknown-transfer-coding", "of the transfer codings, only `chunked` is known here"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal-error", "this is a defect of the service"),
}


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request that can be read in one way only."""

    def parse_header(self, header_plus: bytes) -> None:
        """Read the first line and the headers. Raises ParsingError for what is no request, or can be read two ways."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # A number of too many digits, a URL with half an address.
            raise ParsingError("cannot be read") from error
        if "TRANSFER_ENCODING" in self.headers:  # Waitress takes it out where it goes by it.
            raise ParsingError("Transfer-Encoding in another version than HTTP/1.1")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Transfer-Encoding beside Content-Length")
        host = self.headers.get("HOST")
        if (host is None and self.version == "1.1") or (host is not None and "," in host):
            raise ParsingError("none or several of Host")


class Answer(WSGITask):  # type: ignore[misc]
    """An answer to a request that was understood."""

    def finish(self) -> None:
        """End the answer. One to HEAD has no body, and so none of the signs that end one, which waitress would send."""
        if not self.wrote_header:
            self.write(b"")
        if self.request.command != "HEAD":
            super().finish()


class Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to a request that could not be understood: a problem document, as all our errors are."""

    def execute(self) -> None:
        """Write it."""
        status = HTTPStatus(self.request.error.code)
        self.status = f"{status.value} {status.phrase}"
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers, body = overload.answer(self.request.headers.get(GIVEN_ID.removeprefix("HTTP_"), ""))
        else:
            code, detail = _ERRORS.get(status, (status.phrase.lower().replace(" ", "-"), status.description))
            headers, body = outside_application(status, code, detail, logs.choose_request_id())
            self.set_close_on_finish()
        self.response_headers += headers
        self.content_length = len(body)
        self.write(b"" if getattr(self.request, "command", "") == "HEAD" else body)


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection that knows how slow its other end is. Times are of `time.time()`, as waitress's own are."""

    parser_class = Request
    task_class = Answer
    error_task_class = Refusal

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._request_began = self.creation_time
        self._pace_began = self.creation_time
        self._taken = 0

    @property
    def waiting_since(self) -> float | None:
        """When it began to keep us waiting; None while a request of it is at work, or an answer under way."""
        if self.requests or self.total_outbufs_len:
            return None
        since: float = self.last_activity if self.request is None else self._request_began
        return since

    def is_too_slow(self, now: float) -> bool:
        """Whether it has used up its time, for a request or for taking an answer. To be asked every second or so."""
        if not self.total_outbufs_len:
            self._pace_began, self._taken = now, 0
        since = self.waiting_since
        if since is not None:
            return now - since > (LONGEST_SILENCE if self.request is None else LONGEST_REQUEST)
        if now - self._pace_began < PACE_TIME:
            return False
        is_slow = self._taken < PACE * PACE_TIME
        self._pace_began, self._taken = now, 0
        return is_slow

    def received(self, data: bytes) -> bool:
        """Take in what came."""
        if self.request is None:
            self._request_began = time.time()
        went_on: bool = super().received(data)
        return went_on

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send, and count what the other end takes."""
        sent: int = super().send(data, do_close)
        self._taken += sent
        return sent
