"""Clients that are slow, or many: none holds a thread, and none a connection for ever."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from select import select

import pytest
from flask import Flask, Response

from api import connections, server
from api.server import ApiServer
from tests.api.raw import connected, rest_of, say, status_of
from tests.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PAUSE = 0.02
LONG = 600.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test shortens the one time that it is about."""
    for name in ("LONGEST_SILENCE", "LONGEST_REQUEST", "PACE_TIME"):
        monkeypatch.setattr(connections, name, LONG)
    monkeypatch.setattr(server, "SWEEP", 0.05)
    monkeypatch.setattr(server, "FRESH", LONG)


class Endless:
    """Answers with a word, or without an end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.app = Flask("endless")
        self.app.config["MAX_CONTENT_LENGTH"] = 100_000
        self.app.add_url_rule("/", "done", lambda: "done", methods=["GET", "POST"])
        self.app.add_url_rule("/endless", "endless", lambda: Response(self._stream()))

    def _stream(self) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            self.ended.set()


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Starts a server with one thread; gives its port."""
    with ExitStack() as stack:

        def begin(app: Flask, limit: int = 100) -> int:
            served = ApiServer(app, "127.0.0.1", 0, threads=1, connection_limit=limit)
            thread = threading.Thread(target=served.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(served.stop)
            return served.port

        yield begin


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Send byte by byte until all is sent or the other end closes; give what it says then."""
    for each in data:
        if select([connection], [], [], PAUSE)[0]:
            break
        with suppress(BrokenPipeError, ConnectionResetError):  # It may close just now.
            connection.send(bytes([each]))
    return rest_of(connection)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 10_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"a" * 10_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 2_000,
    ],
)
@pytest.mark.slow
def test_a_request_that_comes_byte_by_byte_is_given_up(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(connections, "LONGEST_REQUEST", 0.5)
    port = start(Endless().app)
    with connected(port) as connection:
        assert drip(connection, request_) == b""
    assert status_of(say(port, LAST)) == 200


def test_slow_requests_hold_no_thread(start: Callable[..., int]) -> None:
    port = start(Endless().app)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connected(port)).sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\nHost:")
        assert status_of(say(port, LAST)) == 200


def test_a_connection_that_says_nothing_is_closed(start: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LONGEST_SILENCE", 0.2)
    port = start(Endless().app)
    with connected(port) as connection:
        assert rest_of(connection) == b""
    monkeypatch.setattr(connections, "LONGEST_SILENCE", LONG)
    with connected(port) as connection:
        connection.sendall(GET)
        assert connection.recv(1) == b"H"
        monkeypatch.setattr(connections, "LONGEST_SILENCE", 0.2)
        assert status_of(b"H" + rest_of(connection)) == 200


@pytest.mark.slow
def test_a_reader_that_takes_a_byte_now_and_then_holds_no_thread(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PACE_TIME", 1.0)
    endless = Endless()
    port = start(endless.app)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")

        eventually(lambda: connection.recv(1) and endless.ended.is_set())
    assert status_of(say(port, LAST)) == 200


@pytest.mark.slow
def test_a_reader_that_takes_its_time_but_takes_it_is_let(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PACE_TIME", 2.0)
    monkeypatch.setattr(connections, "PACE", 1)
    endless = Endless()
    port = start(endless.app)
    with connected(port) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        until = time.monotonic() + 5  # longer than two of those times
        while time.monotonic() < until:
            assert connection.recv(1 << 20)
        assert not endless.ended.is_set()
    eventually(endless.ended.is_set)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX: "])
def test_when_all_connections_are_taken_the_one_that_waits_longest_makes_room(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(server, "FRESH", 0.1)
    port = start(Endless().app, limit=3)
    with ExitStack() as stack:
        held = []
        for _ in range(3):
            held.append(stack.enter_context(connected(port)))
            held[-1].sendall(said)  # At once: one that has said something has waited since then.

        assert status_of(say(port, LAST)) == 200
        assert rest_of(held[0]) == b""


def test_a_connection_that_has_just_come_is_not_the_one_that_makes_room(start: Callable[..., int]) -> None:
    port = start(Endless().app, limit=2)
    with ExitStack() as stack:
        held = [stack.enter_context(connected(port)) for _ in range(2)]
        late = stack.enter_context(connected(port))
        late.sendall(LAST)
        for connection in held:
            connection.sendall(LAST)
            assert status_of(rest_of(connection)) == 200

        assert status_of(rest_of(late)) == 200
