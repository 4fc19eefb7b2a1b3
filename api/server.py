"""The socket and the WSGI server (waitress): which address may be bound, and how serving begins and ends."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import waitress
from flask import Flask
from oslo_config import cfg
from waitress import wasyncore

from api.authentication import KEYSTONE, is_loopback
from api.connections import Connection
from api.dispatching import Dispatcher
from manifest_service.errors import UsageError

LOOK = 0.05
"""Seconds between two looks at whether serving should end."""
GRACE = 5.0
"""Seconds that requests under way are given when serving ends."""
SWEEP = 1.0
"""Seconds between two looks for clients that are too slow."""
FRESH = 1.0
"""Seconds that a connection has for its request before it may have to make room for another one."""
LARGEST_HEADERS = 32768
"""Bytes of the first line and the headers."""
UNSENT = 1 << 20
"""Bytes of one answer that wait for their reader; one that is made while it is read waits for them to become fewer."""
IN_MEMORY = 1 << 18
"""Bytes of an answer's unsent part that are in memory; more are in a file."""
BODY_IN_MEMORY = 1 << 16
"""Bytes of a request's body that are in memory; more are in a file."""
LAST_PORT = 65535
_NO_CLIENTS = 2
"""Of the things that waitress counts as connections: the socket that listens, and a pipe of its own."""


class ApiServer:
    """Serves an application on one address."""

    def __init__(  # noqa: PLR0913 - an address and three limits
        self, app: Flask, host: str, port: int, *, threads: int, connection_limit: int, backlog: int = 64
    ) -> None:
        """Bind the address. Raises UsageError where that cannot be.

        port: 0 takes a free one. threads: requests that are answered at a time. backlog: those that may wait.
        """
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._connections: dict[int, Any] = {}
        self._dispatcher = Dispatcher(threads, backlog)
        self._server = waitress.create_server(
            app,
            map=self._connections,
            sockets=[self._socket],
            _dispatcher=self._dispatcher,
            connection_limit=connection_limit + _NO_CLIENTS,
            outbuf_high_watermark=UNSENT,
            outbuf_overflow=IN_MEMORY,
            inbuf_overflow=BODY_IN_MEMORY,
            max_request_header_size=LARGEST_HEADERS,
            # Beyond the application's own limit, which answers with a problem document.
            max_request_body_size=app.config["MAX_CONTENT_LENGTH"] * 4,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        self._server.channel_class = Connection
        self._connection_limit = connection_limit
        self._next_sweep = 0.0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Answer until `stop` is called from another thread, and then to the end of what has begun."""
        while not self._stopping.is_set():
            self._look()
        self._server.del_channel(self._connections)
        self._socket.close()
        deadline = time.monotonic() + GRACE
        while self._is_busy() and time.monotonic() < deadline:
            self._look()
        for channel in self._channels():
            channel.handle_close()  # Whoever still makes an answer learns that nobody reads it.
        self._dispatcher.shutdown()
        wasyncore.close_all(self._connections)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    def _look(self) -> None:
        now = time.time()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            self._close_slow(now)
            self._dispatcher.refuse_late()
        if len(self._server.active_channels) >= self._connection_limit:
            self._make_room(now)
        wasyncore.loop(timeout=LOOK, use_poll=True, map=self._connections, count=1)

    def _close_slow(self, now: float) -> None:
        for channel in self._channels():
            if channel.is_too_slow(now):
                channel.handle_close()

    def _make_room(self, now: float) -> None:
        """Close the connection that has kept us waiting longest, so that one that has a question can be accepted.

        Where all have a request at work or an answer to take, new ones wait in the kernel's queue.
        """
        waiting = [(since, channel) for channel in self._channels() if (since := channel.waiting_since) is not None]
        if waiting:
            since, channel = min(waiting, key=lambda pair: pair[0])
            if now - since > FRESH:
                channel.handle_close()

    def _channels(self) -> list[Connection]:
        return list(self._server.active_channels.values())

    def _is_busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())


def parse_listen(text: str, option: str = "[api] listen") -> tuple[str, int]:
    """Take `HOST:PORT` apart, `[::1]:9494` included. option: where it stands. Raises UsageError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise UsageError(
            "bad-configuration", f"{option} is {text!r}; HOST:PORT was expected, as 127.0.0.1:9494 or [::1]:9494"
        )
    return host, int(port)


def require_safe_listen(conf: cfg.ConfigOpts) -> None:
    """Raise UsageError where everybody on the network would be let in without anybody having said so."""
    host, _ = parse_listen(conf.api.listen)
    if conf.api.auth_strategy != KEYSTONE and not conf.api.listen_without_auth and not _leads_here_alone(host):
        raise UsageError(
            "unsafe-listen",
            f"[api] listen is {conf.api.listen}, which others can reach, and auth_strategy is noauth: listen on"
            " 127.0.0.1 behind a proxy that authenticates, or set [api] listen_without_auth = true",
        )


def _leads_here_alone(host: str) -> bool:
    """Whether every address that the name stands for is this machine's own alone."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(str(address[4][0])) for address in found)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError("bad-configuration", f"[api] listen names {host}, which is no address: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise UsageError(
            "address-in-use",
            f"{host}:{port} cannot be bound ({error.strerror}): end what listens there, or choose another [api] listen",
        ) from error
    return bound
