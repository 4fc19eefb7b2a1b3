"""`manifest-service export`: whole or not at all, from a database or from an API."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.commands.peak_memory import peak_of
from tests.manifests.filling import fill, image_id_of, sha256_of
from tests.servers.service import EXECUTABLE, write_config
from tests.waiting import eventually

pytestmark = pytest.mark.slow

COUNT = 1200
"""Manifests: more than one part of a walk."""


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [EXECUTABLE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def config_for(folder: Path, database: Database) -> Path:
    url = database.url.render_as_string(hide_password=False)
    return write_config(folder / "manifest-service.conf", {"database": {"connection": url}})


@pytest.fixture
def site(local: Database, tmp_path: Path) -> Path:
    """The configuration of a site with some manifests."""
    fill(local, 0, COUNT)
    return config_for(tmp_path, local)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "manifests.jsonl"


def test_it_is_what_the_api_gives(site: Path, local_api: Client, out: Path) -> None:
    done = run("export", "--config-file", site)
    over_http = run("export", "--url", local_api.url, "-o", out)

    assert (done.returncode, over_http.returncode) == (0, 0), over_http.stderr
    lines = done.stdout.splitlines()
    assert [json.loads(line)["digests"]["sha256"] for line in lines] == [sha256_of(number) for number in range(COUNT)]
    assert out.read_text() == done.stdout
    assert f"{COUNT} lines, {len(done.stdout)} bytes" in done.stderr
    assert f"{COUNT} lines, {len(done.stdout)} bytes" in over_http.stderr


def test_one_line_is_one(local: Database, tmp_path: Path) -> None:
    fill(local, 0, 1)

    assert "1 line, " in run("export", "--config-file", config_for(tmp_path, local)).stderr


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--format", "csv"], COUNT + 1),
        (["--format", "sha256sums"], COUNT),
        (["--format", "sha256sums", "--algorithm", "sha512"], 0),
        (["--format", "statements"], 0),
        (["--owner", "owner 3"], len(range(3, COUNT, 7))),
        (["--since", "2026-11-23T12:10:00+00:00"], COUNT - 600),
        (["--disk-format", "raw"], 0),
        (["--status", "refused", "--with-block-maps"], 0),
    ],
)
def test_forms_and_filters(site: Path, local_api: Client, options: list[str], lines: int) -> None:
    done = run("export", *options, "--config-file", site)
    over_http = run("export", *options, "--url", local_api.url)

    assert (done.returncode, done.stdout.count("\n")) == (0, lines), done.stderr
    assert over_http.stdout == done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "xml"],
        ["--since", "yesterday"],
        ["--since", "2026-11-23T00:00:00"],
        ["--disk-format", "a b"],
        ["--format", "csv", "--with-block-maps"],
        ["--algorithm", "sha512"],
        ["--output", "there.jsonl"],
        ["--output", "."],
        ["--url", "ftp://localhost"],
        ["--config-file", "nowhere.conf"],
    ],
)
def test_usage_is_exit_code_2(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "there.jsonl").write_text("old")
    write_config(tmp_path / "empty.conf", {"database": {"connection": "sqlite:///" + str(tmp_path / "x.sqlite")}})

    done = run("--config-file", "empty.conf", "export", *options, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert (tmp_path / "there.jsonl").read_text() == "old"


def test_a_file_is_replaced_when_the_new_one_is_whole(site: Path, out: Path) -> None:
    out.write_text("old")

    refused = run("export", "--config-file", site, "-o", out)
    assert (refused.returncode, out.read_text()) == (2, "old")
    assert "output-exists" in refused.stderr
    assert run("export", "--config-file", site, "-o", out, "--force").returncode == 0
    assert out.read_text().count("\n") == COUNT
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_ended_on_its_way_leaves_nothing(out: Path, number: signal.Signals) -> None:
    with misbehaving(b"1\r\n{\r\n", wait=True) as url:
        command: list[str | Path] = [EXECUTABLE, "export", "--url", url, "-o", out]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        eventually(Misbehaving.asked.is_set)
        process.send_signal(number)
        assert process.wait(30) in (1, 143)

    assert os.listdir(out.parent) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"3\r\n{}\n\r\n", "service-away"),  # the connection is closed without the last chunk
        (b"2\r\n{}\r\n0\r\n\r\n", "export-broken"),
        (b"zz\r\n", "service-away"),
    ],
)
def test_an_answer_that_is_not_whole_leaves_nothing(out: Path, body: bytes, code: str) -> None:
    with misbehaving(body) as url:
        done = run("export", "--url", url, "-o", out)

    assert (done.returncode, os.listdir(out.parent)) == (1, [])
    assert code in done.stderr


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")],
        [("Content-Type", "application/jsonl")],
        [("Content-Type", "application/jsonl"), ("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")],
    ],
)
def test_an_answer_that_is_something_else_is_not_taken(out: Path, headers: list[tuple[str, str]]) -> None:
    with misbehaving(b"0\r\n\r\n", headers) as url:
        done = run("export", "--url", url, "-o", out)

    assert (done.returncode, os.listdir(out.parent)) == (1, [])
    assert "bad-manifest" in done.stderr


def test_an_api_that_is_away_is_told(out: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        done = run("export", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "-o", out)

    assert (done.returncode, os.listdir(out.parent)) == (1, [])
    assert "service-away" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_is_full_is_told_and_left_as_it_was(site: Path, out: Path) -> None:
    script = 'mount -t tmpfs -o size=64k none "$1" || exit 77; shift; "$@"; status=$?; ls -A "$0"; exit $status'
    before: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, out.parent, out.parent]

    done = subprocess.run(
        [*before, EXECUTABLE, "export", "--config-file", site, "-o", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    if done.returncode == 77:
        pytest.skip("this container may not mount anything")
    assert (done.returncode, done.stdout) == (1, "")
    assert "output-failed: the output cannot be written: no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_device_behind_standard_output_is_told(site: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [EXECUTABLE, "export", "--config-file", site], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 1
    assert "output-failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_ends_it_quietly(site: Path) -> None:
    command = f"{EXECUTABLE} export --config-file {site} | head -n 1"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert json.loads(done.stdout)["image_id"] == image_id_of(0)
    assert "Traceback" not in done.stderr


def test_memory_stays_flat(local: Database, tmp_path: Path) -> None:
    config = config_for(tmp_path, local)
    fill(local, 0, 2000)
    few = peak_of("export", "--config-file", config)
    fill(local, 2000, 20000)

    many = peak_of("export", "--config-file", config)

    assert many < few + (8 << 20)


class Misbehaving(BaseHTTPRequestHandler):
    """Answers with what it is told, and closes."""

    protocol_version = "HTTP/1.1"
    body: ClassVar[bytes]
    headers_to_send: ClassVar[list[tuple[str, str]]]
    wait: ClassVar[bool]
    asked: ClassVar[threading.Event]

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in self.headers_to_send:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)
        self.wfile.flush()
        self.asked.set()
        if self.wait:
            self.rfile.read()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def misbehaving(body: bytes, headers: list[tuple[str, str]] | None = None, *, wait: bool = False) -> Iterator[str]:
    """An API whose export is this; wait: until the other side closes."""
    usual = [("Content-Type", "application/jsonl"), ("Transfer-Encoding", "chunked")]
    handler = type(
        "Handler",
        (Misbehaving,),
        {"body": body, "headers_to_send": usual if headers is None else headers, "wait": wait},
    )
    Misbehaving.asked = threading.Event()
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
