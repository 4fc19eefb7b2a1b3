"""More requests than can be answered: those that have room are answered, the rest is told when to come back."""

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from flask import Flask, Response
from waitress.task import ThreadedTaskDispatcher
from werkzeug.serving import WSGIRequestHandler, make_server

from api import overload
from api.overload import OverloadGate
from api.server import ApiServer
from manifest_service.manifests.database import Database
from tests.api.test_requests import make_ready
from tests.builders import IMAGE_ID
from tests.servers.programs import find
from tests.servers.service import ApiProcess, Settings
from tests.waiting import eventually

TIMEOUT = 30
AT_WORK, WAITING = 2, 3
SCRIPT = Path(__file__).with_name("overload.lua")


class Held:
    """An application whose requests stay at work until they may go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.app = Flask("held")
        self.app.config["MAX_CONTENT_LENGTH"] = 1000
        self.app.add_url_rule("/", "hold", self._hold)
        self.app.add_url_rule("/stream", "stream", lambda: Response(self._stream()))
        self.app.add_url_rule("/healthcheck", "health", lambda: "healthy")
        self.app.wsgi_app = OverloadGate(self.app.wsgi_app, AT_WORK, WAITING)  # type: ignore[method-assign]

    def _hold(self) -> str:
        self.entered.release()
        assert self.go.wait(TIMEOUT)
        return "done"

    def _stream(self) -> Iterator[bytes]:
        yield b"a"
        self.entered.release()
        assert self.go.wait(TIMEOUT)
        yield b"b"


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def ours(app: Flask, waiting: int = WAITING) -> Iterator[str]:
    server = ApiServer(app, "127.0.0.1", 0, threads=AT_WORK, backlog=waiting, connection_limit=100)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        thread.join()


@contextmanager
def another(app: Flask) -> Iterator[str]:
    """A server that has a thread for each connection."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, method: str = "GET") -> requests.Response:
    return requests.request(method, url, timeout=TIMEOUT)


@pytest.mark.parametrize("serve", [ours, another])
@pytest.mark.parametrize("path", ["/", "/stream"])
@pytest.mark.slow
def test_who_has_no_room_is_told_so_at_once(
    serve: Callable[[Flask], AbstractContextManager[str]], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "LONGEST_WAIT", TIMEOUT)
    held = Held()
    with serve(held.app) as url, ThreadPoolExecutor(20) as asking:
        asked = [asking.submit(ask, url + path) for _ in range(AT_WORK + WAITING + 4)]
        eventually(lambda: sum(each.done() for each in asked) == 4)

        refused = ask(url + path)
        head = ask(url + path, "HEAD")
        healthy = ask(url + "/healthcheck")
        held.go.set()

        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["request_id"] == refused.headers["X-Openstack-Request-Id"]
        assert int(refused.headers["Retry-After"]) > 0
        assert (head.status_code, head.content) == (503, b"")
        assert healthy.text == "healthy"
        assert Counter(each.result().status_code for each in asked) == {200: AT_WORK + WAITING, 503: 4}
        assert ask(url + "/").text == "done"


@pytest.mark.slow
def test_who_has_waited_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "LONGEST_WAIT", TIMEOUT)
    held = Held()
    with ours(held.app) as url, ThreadPoolExecutor(20) as asking:
        asked = [asking.submit(ask, url) for _ in range(AT_WORK)]
        for _ in range(AT_WORK):
            assert held.entered.acquire(timeout=TIMEOUT)

        monkeypatch.setattr(overload, "LONGEST_WAIT", 0.2)
        waited = ask(url)
        held.go.set()

        assert (waited.status_code, waited.json()["code"]) == (503, "overloaded")
        assert [each.result().text for each in asked] == ["done"] * AT_WORK


def test_a_thread_that_has_not_run_yet_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ThreadedTaskDispatcher.handler_thread

    def run_late(dispatcher: ThreadedTaskDispatcher, number: int) -> None:
        time.sleep(0.2)  # As on a machine that has much else to do.
        run(dispatcher, number)

    monkeypatch.setattr(ThreadedTaskDispatcher, "handler_thread", run_late)
    app = Flask("at once")
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.add_url_rule("/", "done", lambda: "done")
    with ours(app, waiting=0) as url:
        assert ask(url).text == "done"


def test_an_application_that_breaks_gives_its_place_back() -> None:
    def breaks(*_: object) -> list[bytes]:
        raise RuntimeError

    gate = OverloadGate(breaks, 1, 0)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            gate({"PATH_INFO": "/"}, lambda *_: lambda _: None)


@pytest.mark.slow
@pytest.mark.servers
def test_under_a_multiple_of_what_it_can_answer_it_answers_what_it_can(local: Database, tmp_path: Path) -> None:
    """64 connections that ask at once for much and again at once, and room for four."""
    make_ready(local)
    local.close()
    settings: Settings = {
        "database": {"connection": f"sqlite:///{tmp_path}/local.sqlite"},
        "api": {"threads": 2, "backlog": 2, "connections": 100},
    }
    with ApiProcess(tmp_path / "api", settings) as api:
        manifest = f"{api.url}/v1/manifests/{IMAGE_ID}"
        lookup = tmp_path / "lookup.json"
        lookup.write_text(json.dumps({"image_ids": [str(uuid4()) for _ in range(1000)]}))
        before, memory = ask(manifest).json(), _peak_memory(api.pid)
        options: list[str | Path] = ["-t1", "-c64", "-d3s", "--timeout=30s", "-s", SCRIPT]
        figures: Counter[str] = Counter()
        # It ends by its own clock, however far the server has come.
        while not (figures["answered"] and figures["overloaded"]):
            load = subprocess.Popen(
                [find("wrk", "wrk"), *options, f"{api.url}/v1/lookups", "--", lookup], stdout=subprocess.PIPE, text=True
            )
            while load.poll() is None:
                assert ask(f"{api.url}/healthcheck").status_code == 200
            figures.update(json.loads(load.communicate()[0].splitlines()[-1]))

        assert (figures["others"], figures["errors"]) == (0, 0)
        assert _peak_memory(api.pid) - memory < 64 << 20
        # What was asked last is still at work, waits for its turn, or has not even been taken from the kernel,
        # though nobody reads its answer any more: one answer may come before all of that.
        eventually(lambda: ask(manifest).json() == before)
        (rejected,) = re.findall(r"(?m)^manifest_service_api_overloaded_total (.*)$", ask(f"{api.url}/metrics").text)
        assert float(rejected) >= figures["overloaded"]
        assert api.log_text().count("overloaded") < 10


def _peak_memory(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
