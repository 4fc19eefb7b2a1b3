"""A Glance that tells of one image where it is; nothing else. See `tests/servers/glance.py` for the real one."""

import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.loopback import LoopbackServer, OwnedServer


class SmallGlance(LoopbackServer):
    """Answers for any id. locations: as (url, store). record: what it says of the image, beside its id."""

    def __init__(self, locations: Sequence[tuple[str, str | None]], record: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.locations = locations
        self.record = record or {"status": "active"}
        self.asked: list[str] = []

    @property
    def config(self) -> str:
        """The [glance] section that leads here."""
        return f"[glance]\nauth_type = none\nendpoint = {self.url}\n"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Request


class _Request(BaseHTTPRequestHandler):
    server: OwnedServer

    def do_GET(self) -> None:
        glance = self.server.owner
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
