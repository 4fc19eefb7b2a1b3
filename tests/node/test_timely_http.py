"""An API that never comes to the point does not hold a node."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import create_server, socket

import pytest
from urllib3.util import Retry

from manifest_service.node import api_manifests, timely_http
from manifest_service.node.api_manifests import ApiClient, ServiceAway


@contextmanager
def endless(part: bytes) -> Iterator[str]:
    """A server that answers with this again and again; gives its URL."""
    stopped = threading.Event()

    def talk(connection: socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            while not stopped.wait(0.01):
                connection.sendall(part)

    def accept(listening: socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=[listening.accept()[0]]).start()

    with create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, args=[listening])
        accepting.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stopped.set()
        listening.shutdown(2)
    accepting.join()


@pytest.mark.parametrize("part", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\nX: a\r\n\r\n", b"H"])
@pytest.mark.slow
def test_an_answer_that_does_not_begin_is_given_up(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timely_http, "LONGEST_BEGINNING", 0.3)
    monkeypatch.setattr(api_manifests, "_RETRIES", Retry(total=1, backoff_factor=0, allowed_methods=None))
    with endless(part) as url, pytest.raises(ServiceAway):
        ApiClient(url).post("/v1/lookups", {})


def test_an_answer_that_has_begun_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timely_http, "LONGEST_BEGINNING", 0.3)
    with endless(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 900\r\n\r\n") as url:
        answer = b"".join(ApiClient(url).stream("/", "a/b"))

    assert len(answer) == 900
