"""The socket and the WSGI server (waitress): which address may be bound, and how serving begins and ends."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

import waitress
from flask import Flask
from oslo_config import cfg
from waitress import wasyncore

from manifest_service.errors import UsageError

LOOK = 0.05
"""Seconds between two looks at whether serving should end."""
GRACE = 5.0
"""Seconds that requests under way are given when serving ends."""
SLOW_CLIENT = 30
"""Seconds of silence after which a connection is closed. Waitress reads requests before it takes a thread for them."""
UNSENT = 1 << 20
"""Bytes of one answer that wait for their reader; one that is made while it is read waits for them to become fewer."""


class ApiServer:
    """Serves an application on one address."""

    def __init__(self, app: Flask, host: str, port: int, *, threads: int, connection_limit: int) -> None:
        """Bind the address. port: 0 takes a free one. Raises UsageError where that cannot be."""
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._connections: dict[int, Any] = {}
        self._server = waitress.create_server(
            app,
            map=self._connections,
            sockets=[self._socket],
            threads=threads,
            connection_limit=connection_limit,
            channel_timeout=SLOW_CLIENT,
            outbuf_high_watermark=UNSENT,
            max_request_header_size=32768,
            # Beyond the application's own limit, which answers with a problem document.
            max_request_body_size=app.config["MAX_CONTENT_LENGTH"] * 4,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
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
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._connections)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    def _look(self) -> None:
        wasyncore.loop(timeout=LOOK, use_poll=True, map=self._connections, count=1)
        self._close_unread()

    def _close_unread(self) -> None:
        """Close connections whose reader takes nothing: waitress does so only between requests, and a thread waits."""
        cutoff = time.time() - SLOW_CLIENT
        for channel in self._channels():
            if channel.requests and channel.total_outbufs_len and channel.last_activity < cutoff:
                channel.handle_close()

    def _channels(self) -> list[Any]:
        return list(self._server.active_channels.values())

    def _is_busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())


def parse_listen(text: str) -> tuple[str, int]:
    """Take `HOST:PORT` apart, `[::1]:9494` included. Raises UsageError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            "bad-configuration", f"[api] listen is {text!r}; HOST:PORT was expected, as 127.0.0.1:9494 or [::1]:9494"
        )
    return host, int(port)


def require_safe_listen(conf: cfg.ConfigOpts) -> None:
    """Raise UsageError where everybody on the network would be let in without anybody having said so."""
    host, _ = parse_listen(conf.api.listen)
    if conf.api.auth_strategy == "noauth" and not conf.api.listen_without_auth and not _is_loopback(host):
        raise UsageError(
            "unsafe-listen",
            f"[api] listen is {conf.api.listen}, which others can reach, and auth_strategy is noauth: listen on"
            " 127.0.0.1 behind a proxy that authenticates, or set [api] listen_without_auth = true",
        )


def _is_loopback(host: str) -> bool:
    """Whether every address that the name stands for is this machine's own alone."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[4][0]).split("%")[0]).is_loopback for address in found)


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
