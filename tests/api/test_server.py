"""Which addresses are bound, and how serving ends."""

import socket
import threading
from pathlib import Path

import pytest
import requests
from flask import Flask

from api.server import ApiServer, parse_listen, require_safe_listen
from manifest_service import config
from manifest_service.errors import UsageError
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("127.0.0.1:9494", ("127.0.0.1", 9494)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_an_address_is_taken_apart(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize("text", ["", "9494", ":9494", "::1:9494", "host:", "host:http", "host:65536", "host:-1"])
def test_what_is_no_address_says_so(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT was expected"):
        parse_listen(text)


@pytest.mark.parametrize("listen", ["0.0.0.0:9494", "[::]:9494", "192.0.2.1:9494", "no-such-host.invalid:9494"])
def test_without_authentication_only_loopback_is_bound_unless_asked_for(listen: str, tmp_path: Path) -> None:
    file = tmp_path / "api.conf"
    file.write_text(f"[api]\nlisten = {listen}\n")
    with pytest.raises(UsageError, match="listen_without_auth = true") as caught:
        require_safe_listen(config.load([str(file)]))
    assert caught.value.code == "unsafe-listen"

    file.write_text(f"[api]\nlisten = {listen}\nlisten_without_auth = true\n")
    require_safe_listen(config.load([str(file)]))


@pytest.mark.parametrize("listen", ["127.0.0.1:9494", "[::1]:9494", "[::ffff:127.0.0.1]:9494", "localhost:9494"])
def test_loopback_is_bound(listen: str, tmp_path: Path) -> None:
    file = tmp_path / "api.conf"
    file.write_text(f"[api]\nlisten = {listen}\n")

    require_safe_listen(config.load([str(file)]))


def _application(entered: threading.Event, go: threading.Event) -> Flask:
    app = Flask("slow")
    app.config["MAX_CONTENT_LENGTH"] = 1000

    @app.get("/")
    def slow() -> str:
        entered.set()
        assert go.wait(30)
        return "done"

    return app


def test_an_address_that_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="choose another") as caught:
            ApiServer(Flask("never"), "127.0.0.1", port, threads=1, connection_limit=10)
    assert caught.value.code == "address-in-use"


def test_a_request_under_way_is_answered_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server.GRACE", 60.0)
    entered, go = threading.Event(), threading.Event()
    server = ApiServer(_application(entered, go), "127.0.0.1", 0, threads=1, connection_limit=10)
    serving = threading.Thread(target=server.run)
    serving.start()
    answers: list[str] = []
    url = f"http://127.0.0.1:{server.port}/"
    asking = threading.Thread(target=lambda: answers.append(requests.get(url, timeout=30).text))
    asking.start()
    assert entered.wait(30)

    server.stop()
    eventually(lambda: _is_refused(server.port))
    go.set()
    asking.join(30)
    serving.join(30)

    assert answers == ["done"]
    assert not serving.is_alive()


def _is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
