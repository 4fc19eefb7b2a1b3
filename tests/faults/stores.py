"""Where the images' bytes are: a folder as Glance's file store keeps it, a web server, and a Glance that tells which.

This Glance answers what workers ask (record, locations); that it is no real one is the price of hundreds
of uploads in minutes.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.faults.kinds import Event, Place, Sample
from tests.servers.loopback import LoopbackServer, OwnedServer

_SLICES = 8
"""Pieces that a slow answer comes in."""
_SLOW = 0.06
"""Seconds between two of them."""
_DOOMED = 0.5
"""The same, of an image that is deleted meanwhile."""


@dataclass
class StoredImage:
    """An image in a store. was_asked: set when its first byte is asked for."""

    image_id: str
    sample: Sample
    path: Path
    was_asked: threading.Event = field(default_factory=threading.Event)


class FaultyStores(LoopbackServer):
    """Glance and web server in one: told apart by the path.

    serves: cleared to have every answer with bytes stop where it is. fails: whether the web server is in trouble.
    """

    def __init__(self, folder: Path) -> None:
        """folder: of the file store; what the web server has lies beside it."""
        super().__init__()
        self.folder = folder
        self._web_folder = folder.with_name("web")
        for each in (self.folder, self._web_folder):
            each.mkdir()
        self.serves = threading.Event()
        self.serves.set()
        self.fails = False
        self.cut = 0
        """Answers still to be cut in their middle."""
        self.images: dict[str, StoredImage] = {}

    def add(self, image_id: str, sample: Sample) -> StoredImage:
        """Have Glance know an image, whose bytes are not there yet."""
        folder = self.folder if sample.kind.place is Place.FILE else self._web_folder
        stored = StoredImage(image_id, sample, folder / image_id)
        self.images[image_id] = stored
        return stored

    def fill(self, stored: StoredImage) -> None:
        """Put an image's bytes into its store, other ones where they were replaced."""
        data = bytearray(stored.sample.path.read_bytes())
        if stored.sample.kind.event is Event.REPLACED:
            data[-1] ^= 1
        part = stored.path.with_suffix(".part")
        part.write_bytes(data)
        part.rename(stored.path)

    def remove(self, stored: StoredImage) -> None:
        """Delete an image, as Glance does."""
        self.images.pop(stored.image_id, None)
        stored.path.unlink(missing_ok=True)

    def locations(self, stored: StoredImage) -> list[Mapping[str, Any]]:
        """As Glance's locations API tells them."""
        on_disk = stored.sample.kind.place is Place.FILE
        url = f"file://{stored.path}" if on_disk else f"{self.url}/bytes/{stored.image_id}"
        return [{"url": url, "metadata": {}}]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Request


class _Request(BaseHTTPRequestHandler):
    server: OwnedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        stores: FaultyStores = self.server.owner
        parts = self.path.strip("/").split("/")
        stored = stores.images.get(parts[1] if parts[0] == "bytes" else parts[2])
        if stored is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        elif parts[0] == "bytes":
            self._send_bytes(stores, stored)
        elif parts[3:] == ["locations"]:
            self._send_json(stores.locations(stored))
        elif not parts[3:]:
            self._send_json(_record(stored))
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _send_json(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_bytes(self, stores: FaultyStores, stored: StoredImage) -> None:
        if stores.fails:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            data = stored.path.read_bytes()
        except FileNotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        begin, is_slow = 0, stored.sample.kind.place is Place.SLOW_WEB
        asked = self.headers.get("Range")
        if asked and not is_slow:
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            end = int(asked.split("-")[1] or len(data) - 1) + 1
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
            data = data[begin:end]
        else:
            self.send_response(HTTPStatus.OK)
        if not is_slow:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{stored.sample.md5}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        stored.was_asked.set()
        try:
            self._send_slices(stores, stored, data, is_slow=is_slow)
        except OSError:  # Whoever asked is gone, or was killed.
            self.close_connection = True

    def _send_slices(self, stores: FaultyStores, stored: StoredImage, data: bytes, *, is_slow: bool) -> None:
        pause = _DOOMED if stored.sample.kind.event is Event.DELETED_WHILE_READ else _SLOW
        length = len(data) // _SLICES + 1
        for start in range(0, len(data), length):
            if stores.cut and start:
                stores.cut -= 1
                return
            stores.serves.wait(60)
            self.wfile.write(data[start : start + length])
            if is_slow:
                time.sleep(pause)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _record(stored: StoredImage) -> Mapping[str, Any]:
    sample = stored.sample
    return {
        "id": stored.image_id,
        "status": "active",
        "disk_format": sample.kind.disk_format,
        "container_format": sample.kind.container_format,
        "size": sample.size,
        "checksum": sample.md5,
        "os_hash_algo": "sha512",
        "os_hash_value": sample.sha512,
    }
