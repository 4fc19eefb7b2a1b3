"""The figures of a process that has no API, served on an address of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from prometheus_client import start_http_server

from api.server import LAST_PORT, parse_listen
from manifest_service.errors import UsageError


class ServedMetrics:
    """Answers Prometheus from `start` to `stop`; nothing where no address is configured."""

    def __init__(self, listen: str | None, option: str, process: int = 0, processes: int = 1) -> None:
        """listen: HOST:PORT, or None. option: the name of what it comes from. Raises UsageError.

        process: its number among those of one supervisor, which is added to the port. processes: how many these are.
        """
        self._address = None
        if listen is not None:
            host, port = parse_listen(listen, option)
            if port + processes - 1 > LAST_PORT:
                raise UsageError(
                    "bad-configuration",
                    f"{option} is {listen}, and {processes} processes take a port each: the last one is {LAST_PORT}",
                )
            self._address = (host, port + process if port else 0)
        self._option = option

    def require_free(self) -> None:
        """Raise UsageError where somebody listens on the address already: before many processes find out, each."""
        if self._address is not None:
            with self._binding(), closing(socket.create_server(self._address)):
                pass

    def start(self) -> None:
        """Begin to answer. Raises UsageError where the address cannot be bound."""
        if self._address is None:
            return
        host, port = self._address
        with self._binding():
            self._server, self._thread = start_http_server(port, host)

    @contextmanager
    def _binding(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            host, port = self._address or ("", 0)
            raise UsageError(
                "address-in-use",
                f"{host}:{port} cannot be bound ({error.strerror}): end what listens there, or choose another"
                f" {self._option}",
            ) from error

    def stop(self) -> None:
        """Answer no more."""
        if self._address is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
