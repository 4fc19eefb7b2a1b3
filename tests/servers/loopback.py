"""A small web server in a thread, on a free loopback port, for as long as a `with` block lasts."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """What tests tell how to answer. Its handlers find it as `server.owner`."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set when the block is left: requests that are kept waiting wait for it."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What handles each request."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}"

    def __enter__(self) -> Self:
        self._server = OwnedServer(("127.0.0.1", 0), self.handler())
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class OwnedServer(ThreadingHTTPServer):
    """Any: each handler knows whose it is."""

    daemon_threads = True
    owner: Any
