"""`verify` and `scan` as a node runs them: in processes of their own, beside a real API, or without any."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.node.conftest import Node
from tests.node.images import MIB, convert, make_image
from tests.servers.process import free_port
from tests.servers.service import EXECUTABLE

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]


def run(*arguments: object, **environment: str) -> Done:
    done = subprocess.run(
        [EXECUTABLE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        errors="surrogateescape",
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def verdicts(done: Done) -> dict[str, str]:
    """File name → verdict."""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(each["file"]).name: each["verdict"] for each in found}


@pytest.fixture
def image(tmp_path: Path, qemu_img: Path) -> Path:
    return make_image(tmp_path)


@pytest.fixture
def converted(node: Node, image: Path) -> Path:
    return convert(image, node.path_of(node.publish(image)))


def test_a_folder_in_which_all_is_right(node: Node, converted: Path) -> None:
    (node.base / "swap_1024").touch()
    done = run("scan", "--json", "--url", node.api.url, node.base)

    assert (done.returncode, verdicts(done)) == (0, {converted.name: "match", "swap_1024": "not-applicable"})
    assert "2 files: 1 match, 1 not-applicable" in done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert {"file", "image_id", "verdict", "evidence", "differs", "reason"} <= set(found)


def test_the_worst_wins(node: Node, converted: Path) -> None:
    unknown = node.base / ("0" * 40)
    unknown.touch()
    assert run("scan", "--url", node.api.url, node.base).returncode == 5
    os.truncate(converted, MIB)
    done = run("scan", "--url", node.api.url, node.base)
    assert done.returncode == 4
    assert done.stdout.splitlines()[0].startswith("unknown")
    assert done.stdout.splitlines()[1].startswith("corrupt")
    unknown.unlink()
    assert "1 file: 1 corrupt" in run("scan", "--url", node.api.url, node.base).stderr
    assert run("verify", "--url", node.api.url, converted).returncode == 4


def test_verify_takes_files_of_any_name(node: Node, image: Path, tmp_path: Path) -> None:
    image_id = node.publish(image)
    disk = convert(image, tmp_path / "disk.raw")

    by_digest = run("verify", "--json", "--url", node.api.url, disk)
    assert by_digest.returncode == 0
    assert json.loads(by_digest.stdout)["image_id"] == image_id
    os.truncate(disk, 5)
    assert run("verify", "--json", "--url", node.api.url, disk).returncode == 5
    done = run("verify", "--json", "--image-id", image_id, disk, MANIFEST_SERVICE_URL=node.api.url)
    assert (done.returncode, verdicts(done)) == (4, {"disk.raw": "corrupt"})


def test_the_rest_is_checked_whatever_is_wrong_with_one(node: Node, converted: Path) -> None:
    os.mkfifo(node.base / ("f" * 40))
    (node.base / ("a" * 40)).symlink_to("nowhere")
    (node.base / "odd \udcff\x1b[31m").touch()
    done = run("scan", "--url", node.api.url, node.base)

    assert done.returncode == 5
    assert f"match                  {converted}" in done.stdout
    assert "\x1b" not in done.stdout
    assert run("verify", "--url", node.api.url, converted, converted.with_name("0" * 40 + ".part")).returncode == 0
    gone = run("verify", "--image-id", "245a8fa1-0861-4783-9ffc-4e4b20f3fe80", "--url", node.api.url, "/nowhere/at/all")
    assert gone.returncode == 5  # no such image is known: nothing has to be opened


def test_a_file_that_may_not_be_read_is_said(node: Node, converted: Path) -> None:
    # Root may read everything, unless it is without these two.
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    other = converted.with_name(converted.name + "_1")
    shutil.copyfile(converted, other)
    other.chmod(0)
    done = subprocess.run(
        [*without, EXECUTABLE, "scan", "--json", "--url", node.api.url, node.base],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, verdicts(done)) == (1, {converted.name: "match", other.name: "failed"})
    assert "permission denied" in done.stdout


def test_ten_thousand_files(node: Node) -> None:
    for number in range(10_000):
        (node.base / f"{number:040x}").touch()
    done = run("scan", "--json", "--url", node.api.url, node.base)

    assert done.returncode == 5
    assert set(verdicts(done).values()) == {"unknown"}
    assert len(done.stdout.splitlines()) == 10_000


class Rubbish(BaseHTTPRequestHandler):
    """Answers as nobody should."""

    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    retry_after: ClassVar[str] = "0"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Location", "/elsewhere")
        self.send_header("Retry-After", self.retry_after)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def rubbish() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Rubbish) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


MANIFEST: dict[str, Any] = {
    "image_id": "245a8fa1-0861-4783-9ffc-4e4b20f3fe80",
    "cache_name": "0" * 40,
    "status": "ready",
}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"<html>", 200),
        (b"[" * 100_000, 200),
        (b"[]", 200),
        (b'{"manifests": 1}', 200),
        (b'{"manifests": [1]}', 200),
        (json.dumps({"manifests": [{**MANIFEST, "virtual_size": -1}]}).encode(), 200),
        (json.dumps({"manifests": [{**MANIFEST, "digests": {"sha256": 5}}]}).encode(), 200),
        (json.dumps({"manifests": [{**MANIFEST, "status": []}]}).encode(), 200),
        (json.dumps({"manifests": [{**MANIFEST, "status": "\x1b]0;owned\x07\nmatch"}]}).encode(), 200),
        (json.dumps({"manifests": [{**MANIFEST, "status": "refused", "code": "\x1b[31m"}]}).encode(), 200),
        (json.dumps({"manifests": [{**MANIFEST, "image_id": "\ud800"}]}).encode(), 200),
        (json.dumps({"manifests": [MANIFEST] * 5000}).encode(), 200),
        (b'{"code": "\\u001b[31m"}', 500),
        (b"", 301),
        (b"", 404),
    ],
)
def test_an_api_that_answers_rubbish(
    tmp_path: Path, rubbish: str, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int
) -> None:
    monkeypatch.setattr(Rubbish, "body", body)
    monkeypatch.setattr(Rubbish, "status", status)
    (tmp_path / ("0" * 40)).touch()
    (tmp_path / "swap_1").touch()
    done = run("scan", "--json", "--url", rubbish, tmp_path)

    assert (done.returncode, verdicts(done)) == (1, {"0" * 40: "failed", "swap_1": "not-applicable"})
    assert "\\u001b" not in done.stdout


def test_a_name_that_no_encoding_knows_ends_nothing(
    tmp_path: Path, rubbish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {**MANIFEST, "name": "\ud800\x1b[31m", "status": "pending"}
    monkeypatch.setattr(Rubbish, "body", json.dumps({"manifests": [odd, {**odd, "cache_name": "1" * 40}]}).encode())
    (tmp_path / ("0" * 40)).touch()
    done = run("scan", "--url", rubbish, tmp_path)

    assert done.returncode == 5
    assert done.stdout.startswith("pending")
    assert "\x1b" not in done.stdout


def test_an_api_that_asks_to_come_back_tomorrow(tmp_path: Path, rubbish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rubbish, "status", 503)
    monkeypatch.setattr(Rubbish, "retry_after", "86400")
    (tmp_path / ("0" * 40)).touch()

    assert run("scan", "--url", rubbish, tmp_path).returncode == 1


def test_an_api_that_is_away(tmp_path: Path) -> None:
    (tmp_path / ("0" * 40)).touch()
    done = run("scan", "--url", f"http://127.0.0.1:{free_port()}", tmp_path)

    assert done.returncode == 1
    assert "its manifest could not be had" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "/nowhere"],
        ["scan", "--url", "ftp://x", "/"],
        ["scan", "--rate", "fast", "/"],
        ["scan", "--manifests", "/nowhere", "/tmp"],
        ["verify"],
        ["verify", "--image-id", "5", "x"],
    ],
)
def test_wrong_usage(arguments: Sequence[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr


def _bundle(node: Node, path: Path) -> Path:
    """All manifests, with their block maps, as a file."""
    with path.open("w") as file:
        for manifest in node.api.get("/v1/manifests").json()["manifests"]:
            manifest["bmap"] = node.api.get(manifest["links"]["bmap"]).text
            file.write(json.dumps(manifest) + "\n")
    return path


def test_a_bundle_serves_where_there_is_no_api(node: Node, converted: Path, tmp_path: Path) -> None:
    bundle = _bundle(node, tmp_path / "manifests.jsonl")
    other = shutil.copyfile(converted, tmp_path / "other name")

    done = run("scan", "--json", "--manifests", bundle, node.base)
    assert (done.returncode, verdicts(done)) == (0, {converted.name: "match"})
    assert run("verify", "--manifests", bundle, other).returncode == 0
    os.truncate(converted, 6 * MIB)
    done = run("verify", "--json", "--manifests", bundle, converted)
    assert done.returncode == 4
    assert json.loads(done.stdout)["differs"][-1][0] == 6 * MIB


@pytest.mark.parametrize("line", ["{", "5", '{"image_id": 5}'])
def test_a_bundle_that_is_broken_says_where(node: Node, converted: Path, tmp_path: Path, line: str) -> None:
    bundle = _bundle(node, tmp_path / "manifests.jsonl")
    with bundle.open("a") as file:
        file.write("\n" + line + "\n")
    done = run("scan", "--manifests", bundle, node.base)

    assert done.returncode == 1
    assert "line 3 of" in done.stdout


def test_reports_wait_until_the_api_is_back(node: Node, converted: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    bundle = _bundle(node, tmp_path / "manifests.jsonl")
    away = f"http://127.0.0.1:{free_port()}"
    options = ["--report", "--node", "compute-1", "--spool", spool, "--manifests", bundle]

    done = run("scan", *options, "--url", away, node.base)
    assert done.returncode == 1
    assert "not reported" in done.stderr
    assert len(list(spool.iterdir())) == 1

    os.truncate(converted, MIB)
    assert run("scan", *options, "--url", node.api.url, node.base).returncode == 4
    assert not list(spool.iterdir())
    reported = node.api.get("/v1/verifications?node=compute-1").json()["verifications"]
    assert [each["verdict"] for each in reported] == ["corrupt", "match"]
    latest = node.api.get("/v1/verifications?latest=true").json()["verifications"]
    assert [each["verdict"] for each in latest] == ["corrupt"]
    assert latest[0]["file"] == str(converted)
    assert latest[0]["differs"]


def test_a_whole_folder_that_is_corrupt_is_reported(node: Node, converted: Path, tmp_path: Path) -> None:
    """Many verdicts with many ranges: cut into reports that the API takes."""
    with converted.open("r+b") as file:
        for offset in range(5 * MIB + 4096, 9 * MIB, 16384):
            file.seek(offset)
            file.write(b"x")
    for number in range(120):
        (node.base / f"{converted.name}_{number:02}").hardlink_to(converted)
    done = run("scan", "--report", "--spool", tmp_path / "spool", "--url", node.api.url, node.base)

    assert done.returncode == 4
    assert "not reported" not in done.stderr
    reported = node.api.get("/v1/verifications?limit=1000").json()["verifications"]
    assert len(reported) == 121
    assert max(len(each["differs"]) for each in reported) == 100


def _text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    "plant",
    [
        _text("{"),
        _text("[" * 100_000),
        _text('{"node": "x", "verifications": [{}]}'),
        _text('{"node": "x", "verifications": [NaN]}'),
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
    ],
)
def test_a_bad_report_in_the_spool_stops_no_other(
    node: Node, converted: Path, tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    plant(spool / "0.json")
    done = run("scan", "--report", "--spool", spool, "--url", node.api.url, node.base)

    assert done.returncode == 1
    assert "0.json" in done.stderr
    assert [path.name for path in spool.iterdir()] == ["0.rejected"]
    assert len(node.api.get("/v1/verifications").json()["verifications"]) == 1


def test_a_spool_that_is_full_keeps_no_file_from_being_checked_and_empties_again(
    node: Node, converted: Path, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for number in range(10_000):
        (spool / f"{number}.json").write_text("{")
    options = ["--report", "--spool", spool, "--url", node.api.url, node.base]

    done = run("scan", *options)
    assert done.returncode == 1
    assert done.stdout.startswith("match")
    assert "1 verdicts are not reported: spool-full" in done.stderr

    assert run("scan", *options).returncode == 0
    assert len(node.api.get("/v1/verifications").json()["verifications"]) == 1


def test_metrics_for_node_exporter(node: Node, converted: Path, tmp_path: Path) -> None:
    textfile = tmp_path / "scan.prom"
    run("scan", "--textfile", textfile, "--url", node.api.url, node.base)

    metrics = textfile.read_text()
    assert 'manifest_service_scan_files{verdict="match"} 1\n' in metrics
    assert 'manifest_service_scan_files{verdict="corrupt"} 0\n' in metrics
    assert f"manifest_service_scan_bytes {converted.stat().st_size}\n" in metrics
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.glob(".scan*")) == []


def test_a_terminal_sees_a_table(node: Node, converted: Path) -> None:
    command = f"{EXECUTABLE} scan --url {node.api.url} {node.base}"
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0
    assert "verdict" in done.stdout
    assert "\x1b[32mmatch" in done.stdout
