"""A web server that keeps images, as an http store has them; it counts what it sends, and misbehaves when told to."""

import hashlib
import re
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler

from tests.servers.loopback import LoopbackServer, OwnedServer

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_AT_ONCE = 64 << 10


class WebServer(LoopbackServer):
    """Serves one body under any path. Change `data` to have it replaced.

    ranges, etag: whether it knows them. answers: what to do with one request after the other, the last for all further
    ones. sent: bytes of bodies. asked: the Range of each request.
    """

    def __init__(
        self, data: bytes, answers: Sequence["Answer"] = (), *, ranges: bool = False, etag: bool = False
    ) -> None:
        super().__init__()
        self.data = data
        self.ranges = ranges
        self.etag = etag
        self.sent = 0
        self.asked: list[str | None] = []
        self.authorizations: list[str | None] = []
        self._answers = [*answers] or [whole]

    def next_answer(self) -> "Answer":
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def url(self) -> str:
        return f"{super().url}/image"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return Request


class Request(BaseHTTPRequestHandler):
    """One request; `server.owner` says how it is answered."""

    server: OwnedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        web = self.server.owner
        web.asked.append(self.headers.get("Range"))
        web.authorizations.append(self.headers.get("Authorization"))
        web.next_answer()(self)

    def send(self, most: int | None = None) -> None:
        """What was asked for, or the first so many bytes of it."""
        web = self.server.owner
        found = _RANGE.fullmatch(self.headers.get("Range", "")) if web.ranges else None
        size = len(web.data)
        begin, end = (int(found[1]), int(found[2] or size - 1) + 1) if found else (0, size)
        body = memoryview(web.data)[begin:end]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        if web.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if web.etag:
            self.send_header("ETag", f'"{hashlib.md5(web.data).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body[:most]), _AT_ONCE):
            part = body[:most][start : start + _AT_ONCE]
            web.sent += len(part)  # Before: whoever has it may look at once.
            try:
                self.wfile.write(part)
            except OSError:  # Whoever asked has what it wanted.
                return

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


Answer = Callable[[Request], None]


def whole(request: Request) -> None:
    """What was asked for."""
    request.send()


def cut(length: int) -> Answer:
    """So many bytes of it, then the connection ends."""
    return lambda request: request.send(length)


def stalled(length: int) -> Answer:
    """So many bytes of it, then nothing until the test is over."""

    def answer(request: Request) -> None:
        request.send(length)
        request.server.owner.ended.wait()

    return answer


def status(number: int, **headers: str) -> Answer:
    """No data, but this."""

    def answer(request: Request) -> None:
        request.send_response(number)
        for name, value in {"Content-Length": "0", "Connection": "close", **headers}.items():
            request.send_header(name, value)
        request.end_headers()

    return answer
