"""The API's benchmarks, so small that they show nothing but that they run and what they count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest

from manifest_service.manifests import queries
from manifest_service.manifests.database import Database
from manifest_service.manifests.queries import ManifestFilter
from manifest_service.manifests.visibility import EVERYTHING
from tests.api.client import Client
from tests.bench.api_data import FLAT, SHARED, Made, fill
from tests.bench.api_load import measure_load
from tests.bench.api_lookups import measure_lookups, percentile
from tests.bench.api_questions import QUESTIONS, some_image
from tests.bench.api_servers import new_database, psycopg_url
from tests.bench.open_loop import drive
from tests.servers import programs
from tests.servers.postgresql import PostgreSQL

SIZE = 400
STALL = 0.5


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


class _StallsOnce(BaseHTTPRequestHandler):
    """Answers at once, except that one request holds up all others for a while."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    left: list[float]

    def do_GET(self) -> None:
        with self.lock:
            time.sleep(self.left.pop() if self.left else 0.0)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def stalling() -> Iterator[int]:
    """The port of a server that stalls once."""
    _StallsOnce.left = [STALL]
    with ThreadingHTTPServer(("127.0.0.1", 0), _StallsOnce) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_requests_that_were_due_during_a_stall_have_waited(stalling: int) -> None:
    times = drive(stalling, ["/"], {}, rate=100, seconds=1, connections=2)

    assert len(times) == 100
    # One a hundredth of a second was due. A client that waits for answers would have sent two, and called 98 fast.
    assert sum(seconds > STALL / 5 for seconds in times) >= 25


@pytest.mark.slow
def test_a_failure_ends_a_run(stalling: int) -> None:
    with pytest.raises(RuntimeError, match="/missing is answered with 404"):
        drive(stalling, ["/missing"], {}, rate=100, seconds=1, connections=2)


@pytest.fixture
def filled(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Database]:
    """A database that was filled in two steps."""
    url = new_database(postgresql)
    for first in (1, SIZE // 2 + 1):
        fill(psycopg_url(url), first, first + SIZE // 2 - 1, tmp_path / "key.pem")
    database = Database(url)
    yield database
    database.close()
    postgresql.drop(url)


def test_what_is_made_up_is_what_the_service_would_have_written(filled: Database) -> None:
    """All manifests are checked against their statements as they are read."""
    records = filled.transaction(
        lambda session: queries.list_current(session, EVERYTHING, ManifestFilter(), SIZE, None)
    )

    made = [Made(number) for number in range(SIZE, 0, -1)]
    assert [(record.image_id, record.status) for record in records] == [
        (each.image_id, each.status) for each in made if each.status is not None
    ]
    assert {record.code for record in records} == {None, "backing-file", "worker-lost"}
    assert all(record.statement for record in records if record.status == "ready")


def test_every_question_is_answered(filled: Database, serve_api: Callable[..., Client]) -> None:
    client = serve_api(filled)
    for question in QUESTIONS:
        asked = question.ask(Random(1), SIZE)
        method, headers = ("GET", {}) if asked.body is None else ("POST", {"Content-Type": "application/json"})

        answer = client.ask(method, asked.path, data=asked.body, headers=headers)

        assert answer.status_code in (200, 202), question.title


def test_images_to_ask_for_are_ready_and_alone_with_their_content() -> None:
    chosen = [some_image(Random(seed), SIZE) for seed in range(50)]

    assert {image.status for image in chosen} == {"ready"}
    assert Made(SHARED).digest(FLAT) not in {image.digest(FLAT) for image in chosen}


@pytest.mark.servers
def test_lookups_make_a_section() -> None:
    section = measure_lookups((100, 200), QUESTIONS[:2])

    assert "| question | 100 | 200 | growth of the median |" in section
    assert section.count("`GET /v1/manifests") == 2


@pytest.mark.servers
@pytest.mark.slow
def test_load_makes_a_section() -> None:
    programs.find("wrk", "wrk")

    section = measure_load(rounds=1, seconds=1, images=5)

    assert "| `manifest-service api` |" in section
    assert "| glance-api under uWSGI |" in section
    assert "times as many requests as Glance (target: 3)" in section
