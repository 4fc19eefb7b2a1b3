"""The API under gunicorn and uWSGI, with the files in etc/ as they are but for address and configuration."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from manifest_service.manifests.database import Database
from tests.api.raw import connected, rest_of, status_of
from tests.builders import IMAGE_ID, observation, observe
from tests.servers.process import Server, descendants
from tests.servers.service import write_config
from tests.servers.tls import replaced
from tests.waiting import eventually

ETC = Path(__file__).parents[2] / "etc"
_CONFIGURATION = "/etc/manifest-service/manifest-service.conf"
_ADDRESS = "127.0.0.1:9494"
PATIENCE = 120
"""Seconds: the first request that a process answers waits for the application to be made."""
REPLACED = 240
"""Seconds in which all processes are replaced, where each has to be started in turn."""
LOOKUP = b'{"image_ids": ["%s"]}' % IMAGE_ID.encode()

pytestmark = pytest.mark.slow


class WsgiServer(Server):
    """One of them, with an example file of ours."""

    name = "wsgi"

    def __init__(self, folder: Path, example: str, arguments: Sequence[str], connection: str) -> None:
        super().__init__(folder)
        self._example = ETC / example
        self._arguments = arguments
        self._connection = connection
        self.exports = example.startswith("gunicorn")
        self.started = "Booting worker with pid" if self.exports else " ready in "
        # How many threads a process begins with. uWSGI's do not heed signals before they have all of them.
        self.first_threads = 1 if self.exports else 8
        # What they log when they begin to replace processes, and when the last one has started or left.
        self.reloading, self.reloaded = (
            ("Handling signal: hup", "Worker exiting") if self.exports else ("chain reload", "chain reloading complete")
        )
        self._config = folder / "api.conf"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        config = write_config(self._config, {"database": {"connection": self._connection}})
        text = replaced(self._example, {_CONFIGURATION: str(config), _ADDRESS: f"127.0.0.1:{self.port}"})
        (self.folder / self._example.name).write_text(text)

    def command(self) -> Sequence[str | Path]:
        return [Path(sys.executable).with_name(self._arguments[0]), *self._arguments[1:], self._example.name]

    def environment(self) -> Mapping[str, str]:
        return {"MANIFEST_SERVICE_CONFIG_FILES": str(self._config)}

    def ask(self) -> None:
        requests.get(f"{self.url}/healthcheck", timeout=PATIENCE).raise_for_status()


@pytest.fixture(
    params=[("gunicorn/gunicorn.conf.py", "gunicorn", "--config"), ("uwsgi/manifest-service.ini", "pyuwsgi", "--ini")],
    ids=["gunicorn", "uwsgi"],
)
def server(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[WsgiServer]:
    example, *arguments = request.param
    with WsgiServer(tmp_path / "wsgi", example, arguments, f"sqlite:///{migrated}") as running:
        yield running


@pytest.fixture
def migrated(tmp_path: Path, migrated_file: Path) -> Path:
    """A database that knows one image."""
    path = tmp_path / "db.sqlite"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}")
    observe(database, observation())
    database.close()
    return path


def test_the_api_answers(server: WsgiServer) -> None:
    image = f"{server.url}/v1/manifests/{IMAGE_ID}"
    with requests.Session() as session:
        # Several in a row, each of which must be known to come from this machine, and one with a long token.
        for headers in ({}, {}, {"X-Forwarded-For": "192.0.2.66"}, {"X-Auth-Token": "a" * 30_000}):
            answer = session.get(image, headers=headers, timeout=PATIENCE)
            assert (answer.status_code, answer.json()["status"]) == (202, "pending")

        assert session.get(f"{server.url}/v1/openapi.json", timeout=PATIENCE).ok
        # What a proxy takes for another path stays one.
        assert (
            session.get(f"{server.url}/x/metrics", headers={"SCRIPT_NAME": "/x"}, timeout=PATIENCE).status_code == 404
        )
        export = session.get(f"{server.url}/v1/export", timeout=PATIENCE)
        if server.exports:
            assert export.headers["Transfer-Encoding"] == "chunked"
            assert export.json()["image_id"] == IMAGE_ID
        else:
            assert (export.status_code, export.json()["code"]) == (501, "no-chunked-answers")

        # A body of unknown length comes in chunks.
        chunked = requests.post(
            f"{server.url}/v1/lookups",
            data=iter([LOOKUP[:5], LOOKUP[5:]]),
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE,
        )
        assert chunked.status_code == (200 if server.exports else 400)

        large = session.post(f"{server.url}/v1/lookups", json={"digests": ["a" * 300_000]}, timeout=PATIENCE)
        assert (large.status_code, large.json()["code"]) == (413, "body-too-large")


@contextmanager
def under_way(server: WsgiServer) -> Iterator[socket.socket]:
    """A request that a process of the server has begun to read: `complete` sends the rest of it."""
    head = "POST /v1/lookups HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with connected(server.port) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(f"{head}Content-Length: {len(LOOKUP)}\r\n\r\n".encode())
        eventually(lambda: is_accepted(server.port, connection.getsockname()[1]))
        yield connection


def is_accepted(port: int, client_port: int) -> bool:
    """Whether a process has the connection; one that waits for that has no inode yet."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1][-4:], fields[2][-4:]) == (f"{port:04X}", f"{client_port:04X}"):
            return fields[9] != "0"
    return False


def complete(connection: socket.socket) -> int:
    """The status of the answer."""
    connection.sendall(LOOKUP)
    return status_of(rest_of(connection))


class Asking:
    """Asks over and over while a `with` block lasts, each time by a new connection. statuses: of all answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        self.statuses: list[int | str] = []

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                self.statuses.append(requests.get(self._url, timeout=PATIENCE).status_code)
            except requests.RequestException as error:
                self.statuses.append(str(error))


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_no_request_is_lost_when_it_is_reloaded_and_ended(server: WsgiServer) -> None:
    # One that still starts would not notice the signal.
    eventually(lambda: server.log.read_text().count(server.started) >= 4, REPLACED)
    before = set(descendants(server.pid))
    assert len(before) >= 4
    eventually(lambda: sum(threads_of(pid) >= server.first_threads for pid in before) >= 4, REPLACED)

    with Asking(f"{server.url}/v1/manifests/{IMAGE_ID}") as asking, under_way(server) as begun:
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: server.reloading in server.log.read_text())

        assert complete(begun) == 200
        eventually(lambda: not before & set(descendants(server.pid)), REPLACED)
        eventually(lambda: server.reloaded in server.log.read_text(), REPLACED)
        seen = len(asking.statuses)
        eventually(lambda: len(asking.statuses) > seen + 3, REPLACED)
    assert set(asking.statuses) == {202}

    with under_way(server) as begun:
        os.kill(server.pid, signal.SIGTERM)
        assert complete(begun) == 200
    eventually(lambda: not server.running, REPLACED)
