"""Asking the API without a library that would make requests proper ones."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TIMEOUT = 30


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        yield connection


def say(port: int, request: bytes) -> bytes:
    """Send this, and read until the other end closes the connection."""
    with connected(port) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """What still comes until the other end closes."""
    answer = bytearray()
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return bytes(answer)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
