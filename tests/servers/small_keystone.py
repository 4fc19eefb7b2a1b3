"""In Keystone's place before Swift: glance_store authenticates by Keystone's third version alone.

It hands out the token of Swift's own first version of authentication, with a catalogue that leads to that account.
"""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import requests

from tests.servers.loopback import LoopbackServer, OwnedServer


class SmallKeystone(LoopbackServer):
    """swift_auth_url: where Swift hands out tokens. account: whose; the password is what the caller says."""

    def __init__(self, swift_auth_url: str, account: str) -> None:
        super().__init__()
        self.swift_auth_url = swift_auth_url
        self.account = account

    @property
    def url(self) -> str:
        return f"{super().url}/v3"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Request


class _Request(BaseHTTPRequestHandler):
    server: OwnedServer

    def do_GET(self) -> None:
        """The versions: one."""
        version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": self.server.owner.url}]}
        self._answer(200, {"version": version})

    def do_POST(self) -> None:
        keystone = self.server.owner
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = asked["auth"]["identity"]["password"]["user"]
        headers = {"X-Auth-User": f"{keystone.account}:{user['name']}", "X-Auth-Key": user["password"]}
        found = requests.get(keystone.swift_auth_url, headers=headers, timeout=60)
        if not found.ok:
            self._answer(401, {"error": {"message": "no", "code": 401, "title": "Unauthorized"}})
            return
        endpoint = {
            "id": "1", "interface": "public", "region": "one", "region_id": "one", "url": found.headers["X-Storage-Url"]
        }  # fmt: skip
        domain = {"id": "default", "name": "Default"}
        token = {
            "methods": ["password"],
            "issued_at": "2026-11-23T12:00:00.000000Z",
            "expires_at": "2099-11-23T12:00:00.000000Z",
            "user": {"id": "1", "name": user["name"], "domain": domain},
            "project": {"id": "1", "name": keystone.account, "domain": domain},
            "catalog": [{"id": "1", "type": "object-store", "name": "swift", "endpoints": [endpoint]}],
            "roles": [],
        }
        self._answer(201, {"token": token}, {"X-Subject-Token": found.headers["X-Auth-Token"]})

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
