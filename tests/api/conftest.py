"""The API on a real socket, over a database of each kind or over SQLite alone."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from api.app import create_app
from api.server import ApiServer
from manifest_service import config
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database

TIMEOUT = 30


class Client:
    """Asks one running API; every error must be a problem document."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        response = requests.request(method, self.url + path, timeout=TIMEOUT, allow_redirects=False, **options)
        if response.status_code >= 400 and method != "HEAD" and path != "/healthcheck":
            assert response.headers["Content-Type"] == "application/problem+json", (path, response.text)
            document = response.json()
            assert document["status"] == response.status_code
            assert document["request_id"] == response.headers["X-Openstack-Request-Id"]
            assert document["code"]
            assert document["detail"]
            assert "Traceback" not in response.text
        return response


@pytest.fixture
def serve_api(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts APIs that end with the test: serve_api(database, page_limit=…)."""
    running: list[tuple[ApiServer, threading.Thread]] = []

    def start(database: Database, **api_options: Any) -> Client:
        empty = tmp_path / "empty.conf"
        empty.touch()
        conf = config.load([str(empty)], [("api", name, value) for name, value in api_options.items()])
        server = ApiServer(create_app(conf, database), "127.0.0.1", 0, threads=4, connection_limit=100)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        return Client(server.port)

    yield start
    for server, thread in running:
        server.stop()
        thread.join(TIMEOUT)


@pytest.fixture
def api(database: Database, serve_api: Callable[..., Client]) -> Client:
    """The API over each kind of database."""
    return serve_api(database)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with our tables."""
    database = Database(f"sqlite:///{tmp_path}/local.sqlite")
    schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def local_api(local: Database, serve_api: Callable[..., Client]) -> Client:
    """The API over SQLite, where the kind of database does not matter."""
    return serve_api(local)
