"""Log lines: the request that each belongs to, and hostile names in them."""

import json
import logging
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_context import context
from oslo_log import log

from manifest_service import config, logs

REQUEST_ID = "req-11111111-2222-4333-8444-555555555555"
HOSTILE = "q1\n2026-11-23 12:00:00.000 1 INFO manifest_service image x is ready\r\x1b[2J\x9b31m\u2028\u202e"


def current() -> str | None:
    kept = context.get_current()
    return None if kept is None else kept.request_id


@pytest.fixture
def logged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StringIO]:
    """What the service logs, in the form that its configuration asks for; pytest's own handlers stay as they were."""
    file = tmp_path / "manifest-service.conf"
    file.write_text(f"[DEFAULT]\nuse_stderr = true\nuse_json = {getattr(request, 'param', 'false')}\n")
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs.set_up(config.load([str(file)]))
    text = StringIO()
    for handler in root.handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(text)
    yield text
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_carries_the_request_id_of_its_thread(logged: StringIO) -> None:
    elsewhere = threading.Thread(target=lambda: log.getLogger("observed").info("another thread"))
    with logs.within_request(REQUEST_ID):
        log.getLogger("observed").info("inside")
        elsewhere.start()
        elsewhere.join()
    log.getLogger("observed").info("outside")

    lines = {line.rpartition("] ")[2]: REQUEST_ID in line for line in logged.getvalue().splitlines()}
    assert lines == {"inside": True, "another thread": False, "outside": False}


def test_a_request_within_another_gives_way_to_it_again() -> None:
    with logs.within_request(REQUEST_ID):
        with logs.within_request() as inner:
            assert current() == inner != REQUEST_ID
        assert current() == REQUEST_ID
    assert current() is None


@pytest.mark.parametrize("given_id", [None, 7, "", "req-1", REQUEST_ID + "\n", REQUEST_ID.upper(), f"x{REQUEST_ID}"])
def test_what_is_no_request_id_is_replaced(given_id: object) -> None:
    made = logs.choose_request_id(given_id)

    assert made != given_id
    assert logs.choose_request_id(made) == made
    assert logs.choose_request_id(given_id, REQUEST_ID) == REQUEST_ID


def test_a_hostile_name_begins_no_line_and_moves_no_cursor(logged: StringIO) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.getLogger("observed").exception("image %s broke", HOSTILE)

    first, *trace = logged.getvalue().rstrip("\n").split("\n")
    assert "image q1\\n2026-11-23 12:00:00.000 1 INFO manifest_service image x is ready\\r\\x1b[2J" in first
    assert all(line.isprintable() for line in [first, *trace])
    assert not [line for line in trace if " ERROR observed " not in line]


@pytest.mark.parametrize("logged", ["true"], indirect=True)
def test_json_lines_are_objects_with_the_request_id(logged: StringIO) -> None:
    with logs.within_request(REQUEST_ID):
        log.getLogger("observed").info("image %s", HOSTILE)

    (line,) = logged.getvalue().splitlines()
    record = json.loads(line)
    assert record["context"]["request_id"] == REQUEST_ID
    assert record["message"].startswith("image q1\\n2026")


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    record = logging.LogRecord("observed", logging.INFO, "", 0, "%s", (text,), None)

    line = logs._SafeFormatter(logging.Formatter("%(message)s")).format(record)

    assert line.isprintable()
