"""Mistakes in a call: each is told in a sentence, with exit code 2, and never by a traceback."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from manifest_service.commands.main import group
from manifest_service.manifests.database import Database
from manifest_service.manifests.schema import VERSION_TABLE
from tests.commands.test_duties import call
from tests.servers.loopback import LoopbackServer
from tests.servers.service import EXECUTABLE

LONG = "a" * 300
IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
SCAN = ["scan", "--manifests", os.devnull]
FETCH = ["fetch", "--glance-url", "http://127.0.0.1:1", IMAGE_ID]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "key.pem").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (["scan", "--url", "http://h:port", "folder"], {}, "bad-url"),
        (["scan", "--url", "http://[h", "folder"], {}, "bad-url"),
        (["export", "--url", "http://h:port", "-o", "out"], {}, "bad-url"),
        ([*FETCH, "--url", "http://h:port"], {}, "bad-url"),
        (FETCH, {"OS_CACERT": LONG}, "bad-certificate"),
        ([*SCAN, "--trusted-key", LONG, "folder"], {}, "bad-key"),
        ([*SCAN, "--trusted-key", "", "folder"], {}, "an empty name"),
        ([*SCAN, "folder"], {"MANIFEST_SERVICE_TRUSTED_KEYS": ":"}, "bad-key"),
        ([*SCAN, "--textfile", "key.pem/x.prom", "folder"], {}, "bad-textfile"),
        ([*SCAN, "--textfile", f"{LONG}.prom", "folder"], {}, "bad-textfile"),
        ([*SCAN, "--report", "--spool", "spool", "--node", "", "folder"], {}, "bad-node"),
        ([*SCAN, "--report", "--spool", "spool", "--node", "\x1b[31m", "folder"], {}, "bad-node"),
        (["keys", "generate", "/"], {}, "key-exists"),
        (["keys", "generate", "."], {}, "key-exists"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments: Sequence[str], environment: dict[str, str], code: str) -> None:
    done = CliRunner().invoke(group, arguments, env=environment)

    assert isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code, code in done.stderr) == (2, True), done.stderr
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr


@pytest.mark.slow
def test_an_input_that_cannot_be_read_is_told(local: Database, tmp_path: Path) -> None:
    broken = call(local, tmp_path, {}, "import", "--unsigned", "/proc/self/mem")
    assert (broken.returncode, "bad-bundle: /proc/self/mem cannot be read" in broken.stderr) == (2, True)
    closed = subprocess.run(
        ["sh", "-c", f"{EXECUTABLE} import --unsigned --config-file manifest-service.conf - <&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (closed.returncode, "bad-bundle: standard input is closed" in closed.stderr) == (2, True), closed.stderr


@pytest.mark.slow
def test_an_image_that_cannot_be_scrubbed_is_told(local: Database, tmp_path: Path) -> None:
    assert call(local, tmp_path, {}, "scrub", "--image-id", "x").returncode == 2
    done = call(local, tmp_path, {}, "scrub", "--image-id", IMAGE_ID)
    assert (done.returncode, f"no-manifest: image {IMAGE_ID}" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["db", "upgrade"], ["keys", "list"]])
def test_a_database_of_a_newer_version_is_left_alone(local: Database, tmp_path: Path, command: Sequence[str]) -> None:
    with local.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999_needs_9999'"))
    done = call(local, tmp_path, {}, *command)

    assert done.returncode == 2
    assert "schema-not-current: the database's schema is at 9999" in done.stderr


class Page(LoopbackServer):
    """Any web server but ours."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return PageRequest


class PageRequest(BaseHTTPRequestHandler):
    body = b"<html>"
    kind = "text/html"
    status = 200

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[Page]:
    with Page() as server:
        yield server


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b"[]", 200), (b"{}", 200), (b'{"code": "x", "detail": "\\u001b[31m"}', 500)],
)
def test_what_is_no_manifest_service_is_told(
    page: Page, here: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int
) -> None:
    monkeypatch.setattr(PageRequest, "body", body)
    monkeypatch.setattr(PageRequest, "status", status)
    (here / "disk").write_bytes(bytes(512))
    (here / "conf").write_text(f"[DEFAULT]\nstate_path = {here}\n")
    done = CliRunner().invoke(group, ["try", "--config-file", "conf", "--url", page.url, "disk"])

    assert isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code, done.stderr.startswith("manifest-service: ")) == (1, True)
    assert "\x1b" not in done.stderr


def test_a_report_that_somebody_else_took_stays_in_the_spool(
    page: Page, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PageRequest, "body", b"{}")
    (here / "folder" / "swap_1").touch()
    done = CliRunner().invoke(group, [*SCAN, "--report", "--spool", "spool", "--url", page.url, "folder"])

    assert (done.exit_code, "the verdicts wait in the spool" in done.stderr) == (1, True)
    assert len(list((here / "spool").iterdir())) == 1


def test_a_report_that_another_scan_sends_at_the_same_time_is_no_error(
    page: Page, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = here / "spool"

    class Emptied(PageRequest):
        body = b'{"recorded": 1, "known": 0}'

        def do_POST(self) -> None:
            for path in spool.iterdir():
                path.unlink()
            self.do_GET()

    (here / "folder" / "swap_1").touch()
    options = [*SCAN, "--report", "--spool", str(spool), "folder", "--url"]
    assert CliRunner().invoke(group, [*options, page.url]).exit_code == 1  # So two reports wait in the next run.
    monkeypatch.setattr(Page, "handler", lambda self: Emptied)
    with Page() as server:
        done = CliRunner().invoke(group, [*options, server.url])

    assert (done.exit_code, "not reported" in done.stderr) == (0, False), done.stderr


def test_metrics_that_cannot_be_written_do_not_hide_what_was_found(here: Path) -> None:
    (here / "folder" / ("0" * 40)).touch()
    done = CliRunner().invoke(group, [*SCAN, "--textfile", "nowhere/x.prom", "folder"])

    assert (done.exit_code, "bad-textfile" in done.stderr) == (5, True)
