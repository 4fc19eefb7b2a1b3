"""A Glance that tells of one image where it is; nothing else. See `tests/servers/glance.py` for the real one."""

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class SmallGlance:
    """Answers for any id. locations: as (url, store). record: what it says of the image, beside its id."""

    def __init__(self, locations: Sequence[tuple[str, str | None]], record: Mapping[str, Any] | None = None) -> None:
        self.locations = locations
        self.record = record or {"status": "active"}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def config(self) -> str:
        """The [glance] section that leads here."""
        return f"[glance]\nauth_type = none\nendpoint = {self.url}\n"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.glance = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    glance: SmallGlance


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        glance = self.server.glance
        glance.asked.append(self.path)
        _, _, _, image_id, *rest = self.path.split("/")
        if rest == ["locations"]:
            answer: Any = [
                {"url": url, "metadata": {} if store is None else {"store": store}} for url, store in glance.locations
            ]
        elif not rest:
            answer = {"id": image_id, **glance.record}
        else:
            self.send_error(404)
            return
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
