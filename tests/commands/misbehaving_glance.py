"""A Glance that is told how to answer, on a loopback port of its own."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

from tests.servers.loopback import LoopbackServer, OwnedServer

ANY_BYTE = re.compile(r"bytes=(\d+)-")


class Request(BaseHTTPRequestHandler):
    """One request. An `Answer` is a function that gets it, and answers."""

    server: OwnedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        glance = self.server.owner
        glance.requests.append(self)
        if self.path.endswith("/file"):
            glance.next_answer()(self)
        elif self.path == f"/v2/images/{glance.image_id}":
            self.send(200, glance.record)
        else:
            self.send(404, b"")

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Answer with all that there is."""
        self.begin(status, **{"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def begin(self, status: int, **headers: str) -> None:
        """Answer with a status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    @property
    def data(self) -> bytes:
        """The image."""
        data: bytes = self.server.owner.data
        return data

    @property
    def offset(self) -> int | None:
        """Where the bytes are to begin, if the request says so."""
        found = ANY_BYTE.fullmatch(self.headers.get("Range", ""))
        return int(found[1]) if found else None

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


Answer = Callable[[Request], None]


class MisbehavingGlance(LoopbackServer):
    """Serves one image. answers: to requests for its data, in turn, the last one for all further ones."""

    def __init__(self, data: bytes, answers: Sequence[Answer], record: Mapping[str, Any]) -> None:
        """record: what it says of the image, where that is not the truth; `body` for all that it says."""
        super().__init__()
        self.data = data
        self.requests: list[Request] = []
        self._answers = list(answers)
        truth = {
            "id": str(uuid4()),
            "disk_format": "qcow2",
            "size": len(data),
            "checksum": hashlib.md5(data).hexdigest(),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(data).hexdigest(),
        }
        said = {**truth, **record}
        self.image_id: str = said["id"]
        self.record: bytes = said.get("body") or json.dumps(said).encode()

    def next_answer(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def offsets(self) -> list[int | None]:
        """From where the data was asked for, request by request."""
        return [request.offset for request in self.requests if request.path.endswith("/file")]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return Request


def whole(request: Request) -> None:
    """All of it, whatever was asked for."""
    request.send(200, request.data)


def ranged(request: Request) -> None:
    """What was asked for."""
    offset = request.offset or 0
    request.send(206, request.data[offset:], **_range(request, offset))


def shifted(request: Request) -> None:
    """Other bytes than were asked for."""
    request.send(206, request.data[7:], **_range(request, 7))


def encoded(request: Request) -> None:
    """Compressed, or so it says."""
    request.send(200, request.data, **{"Content-Encoding": "gzip"})


def cut(length: int, *, framed: bool = True, ranges: bool = True, waits: bool = False) -> Answer:
    """So many bytes of what was asked for, then nothing more.

    framed: all were promised. ranges: not always the first ones. waits: keep silent instead of closing.
    """

    def answer(request: Request) -> None:
        offset = (request.offset if ranges else None) or 0
        rest = request.data[offset:]
        headers = {"Content-Length": str(len(rest))} if framed else {}
        if offset:
            request.begin(206, **headers, **_range(request, offset))
        else:
            request.begin(200, **headers)
        request.wfile.write(rest[:length])
        if waits:
            request.server.owner.ended.wait()

    return answer


def status(number: int, **headers: str) -> Answer:
    """No data, but this."""

    def answer(request: Request) -> None:
        if number == 204:
            request.begin(204, **headers)
        else:
            request.send(number, b"sorry", **headers)

    return answer


def _range(request: Request, offset: int) -> dict[str, str]:
    size = len(request.data)
    return {"Content-Range": f"bytes {offset}-{size - 1}/{size}"}
