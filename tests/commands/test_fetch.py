"""`manifest-service fetch`: an image from a real Glance; and nothing but it from servers that misbehave."""

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from manifest_service.errors import DownloadFailed
from manifest_service.images import download
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_connection import UrlConnection
from tests import qemu
from tests.builders import new_key
from tests.commands.misbehaving_glance import Answer, MisbehavingGlance, cut, encoded, ranged, shifted, status, whole
from tests.servers.glance import Glance
from tests.servers.service import EXECUTABLE, ServeProcess
from tests.waiting import eventually

pytestmark = pytest.mark.slow

MIB = 1 << 20
DATA = random.Random(1).randbytes(3 * MIB + 17)
TOKEN = "gAAAA-very-secret"


def fetch(
    url: str, *arguments: str | Path, cwd: Path, roles: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it. roles: of whom a Glance without Keystone is to take it for."""
    headers = [] if roles is None else ["X-Identity-Status: Confirmed", "X-User-Id: u", f"X-Roles: {roles}"]
    options = [part for header in headers for part in ("--header", header)]
    done = subprocess.run(
        [EXECUTABLE, "fetch", "--glance-url", url, *options, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "OS_TOKEN": TOKEN, **environment},
    )
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that it runs in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@contextmanager
def serving(*answers: Answer, **record: object) -> Iterator[MisbehavingGlance]:
    with MisbehavingGlance(DATA, answers, record) as glance:
        yield glance


def assert_fetched(done: subprocess.CompletedProcess[str], glance: MisbehavingGlance, folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert names(folder) == [f"{glance.image_id}.qcow2"]
    assert (folder / f"{glance.image_id}.qcow2").read_bytes() == DATA


class TestRealGlance:
    """What an operator does."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        path = tmp_path / "image.qcow2"
        qemu.create(path, 40 * MIB)
        qemu.io(path, ["write -P 65 1M 5M"])
        return path

    @pytest.fixture
    def image_id(self, glance: Glance, image: Path) -> str:
        image_id: str = glance.client.create_image("qcow2")["id"]
        with image.open("rb") as data:
            glance.client.upload(image_id, data)
        return image_id

    def test_an_image_comes_as_it_was_uploaded(self, glance: Glance, image: Path, image_id: str, here: Path) -> None:
        done = fetch(glance.endpoint, image_id, cwd=here, roles="admin")

        assert done.returncode == 0, done.stderr
        assert names(here) == [f"{image_id}.qcow2"]
        content = image.read_bytes()
        assert (here / f"{image_id}.qcow2").read_bytes() == content
        assert done.stdout.splitlines() == [
            f"MD5 ({image_id}.qcow2) = {hashlib.md5(content).hexdigest()}",
            f"SHA512 ({image_id}.qcow2) = {hashlib.sha512(content).hexdigest()}",
        ]
        subprocess.run(
            ["sha512sum", "-c", "-"], input=done.stdout, cwd=here, text=True, capture_output=True, check=True
        )

    def test_json_is_one_object(self, glance: Glance, image: Path, image_id: str, here: Path) -> None:
        done = fetch(f"{glance.endpoint}/v2/", "--json", "--output", "mine", image_id.upper(), cwd=here, roles="admin")

        told = json.loads(done.stdout)
        assert sorted(told.pop("checksums")) == ["md5", "sha512"]
        assert told == {
            "file": "mine",
            "image_id": image_id,
            "format": "qcow2",
            "status": "ready",
            "size": image.stat().st_size,
            "verified": ["md5", "sha512"],
            "code": None,
            "reason": None,
        }

    def test_glance_goes_on_where_it_is_asked_to(self, glance: Glance, image: Path, image_id: str) -> None:
        headers = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Roles": "admin"}

        with GlanceApi(UrlConnection(glance.endpoint, headers)) as api, api.open_data(image_id, 1000) as data:
            assert (data.offset, b"".join(data.parts)) == (1000, image.read_bytes()[1000:])

    def test_what_was_changed_in_the_store_does_not_land(self, glance: Glance, image_id: str, here: Path) -> None:
        stored = glance.store_folder() / image_id
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 1
        stored.write_bytes(content)

        done = fetch(glance.endpoint, "--json", image_id, cwd=here, roles="admin")

        told = json.loads(done.stdout)
        assert (done.returncode, told["code"], names(here)) == (4, "source-mismatch", [])
        assert hashlib.sha512(content).hexdigest() in told["reason"]
        assert glance.client.show(image_id)["os_hash_value"] in told["reason"]

    def test_what_was_cut_in_the_store_does_not_land(self, glance: Glance, image_id: str, here: Path) -> None:
        os.truncate(glance.store_folder() / image_id, 1000)

        done = fetch(glance.endpoint, "--json", image_id, cwd=here, roles="admin")

        assert (done.returncode, json.loads(done.stdout)["code"], names(here)) == (1, "download-broken", [])

    @pytest.mark.parametrize(
        ("roles", "data", "code"), [("admin", False, "no-data"), ("admin", True, "no-data"), ("stranger", False, "")]
    )
    def test_an_image_without_data_says_so(
        self, glance: Glance, image_id: str, here: Path, roles: str, data: bool, code: str
    ) -> None:
        if data:
            (glance.store_folder() / image_id).unlink()
        else:
            image_id = glance.client.create_image("qcow2")["id"]

        done = fetch(glance.endpoint, "--json", image_id, cwd=here, roles=roles)

        assert done.returncode == 1
        assert json.loads(done.stdout)["code"] == (code or "not-found")
        assert names(here) == []

    def test_an_unknown_image_is_not_found(self, glance: Glance, here: Path) -> None:
        done = fetch(glance.endpoint, str(uuid4()), cwd=here, roles="admin")

        assert (done.returncode, done.stdout) == (1, "")
        assert "not-found: " in done.stderr
        assert "Check the image's id" in done.stderr

    def test_who_may_not_see_it_is_told(self, glance: Glance, image_id: str, here: Path) -> None:
        glance.client.deactivate(image_id)
        public = fetch(glance.endpoint, "--json", image_id, cwd=here)

        assert (public.returncode, json.loads(public.stdout)["code"]) == (1, "forbidden")
        assert names(here) == []


def test_the_token_goes_in_the_header_and_nowhere_else(here: Path) -> None:
    with serving(whole) as glance:
        done = fetch(glance.url, "--header", "X-Extra:  two words", glance.image_id, cwd=here)

    assert_fetched(done, glance, here)
    assert {request.headers["X-Auth-Token"] for request in glance.requests} == {TOKEN}
    assert {request.headers["X-Extra"] for request in glance.requests} == {"two words"}


@pytest.mark.parametrize("name", ["OS_IMAGE_ENDPOINT_OVERRIDE", "GLANCE_URL"])
def test_the_url_may_come_from_the_environment(here: Path, name: str) -> None:
    with serving(whole) as glance:
        done = subprocess.run(
            [EXECUTABLE, "fetch", glance.image_id],
            env={**os.environ, "NO_PROXY": "127.0.0.1", name: glance.url},
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )

    assert_fetched(done, glance, here)


@pytest.mark.parametrize(
    ("answers", "offsets"),
    [
        pytest.param([cut(MIB), ranged], [None, MIB], id="goes on"),
        pytest.param([cut(MIB), cut(MIB), ranged], [None, MIB, 2 * MIB], id="goes on twice"),
        pytest.param([cut(MIB), whole], [None, MIB], id="begins anew"),
        pytest.param([cut(MIB, framed=False), ranged], [None, MIB], id="without a length"),
        pytest.param([cut(MIB), status(416), whole], [None, MIB, None], id="no ranges"),
        pytest.param([cut(MIB), status(400), whole], [None, MIB, None], id="a store without ranges"),
        pytest.param([status(503), cut(MIB), status(429), ranged], [None, None, MIB, MIB], id="busy"),
    ],
)
def test_an_answer_that_breaks_off_is_gone_on_with(
    here: Path, answers: Sequence[Answer], offsets: list[int | None]
) -> None:
    with serving(*answers) as glance:
        done = fetch(glance.url, "--json", glance.image_id, cwd=here)

    assert_fetched(done, glance, here)
    assert glance.offsets == offsets


@pytest.mark.parametrize(
    ("answers", "furthest"),
    [
        pytest.param([cut(0)], 0, id="nothing"),
        pytest.param([cut(MIB), status(500)], MIB, id="an error"),
        pytest.param([cut(MIB, ranges=False)], MIB, id="the same again and again"),
    ],
)
def test_it_is_tried_a_bounded_number_of_times(
    here: Path, monkeypatch: pytest.MonkeyPatch, answers: Sequence[Answer], furthest: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    with serving(*answers) as glance, pytest.raises(DownloadFailed) as caught:
        download_to(here / "file", glance)

    assert caught.value.code == "download-broken"
    assert caught.value.reason.startswith(f"5 tries brought no more than the first {furthest} bytes of {len(DATA)}")
    assert pauses[-4:] == [0.5, 1, 2, 4]
    assert len(pauses) <= 5


def test_as_long_as_more_comes_it_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    with serving(cut(MIB // 4)) as glance:
        download_to(here / "file", glance)

    assert (here / "file").read_bytes() == DATA
    assert pauses == [0.5] * 12


def download_to(path: Path, glance: MisbehavingGlance) -> None:
    expectation = download.Expectation("Glance", len(DATA), {})
    with path.open("w+b") as file, GlanceApi(UrlConnection(glance.url, {})) as api:
        download.download(api, glance.image_id, file.fileno(), [expectation], lambda done, total: None)


@pytest.mark.parametrize(
    ("answer", "record", "told"),
    [
        (whole, {"checksum": "ab" * 16}, f"Glance records md5 {'ab' * 16}, but what came has "),
        (whole, {"os_hash_value": "cd" * 64}, f"Glance records sha512 {'cd' * 64}, but what came has "),
        (whole, {"size": len(DATA) + 1}, f"Glance records {len(DATA) + 1} bytes, and {len(DATA)} came"),
        (whole, {"size": len(DATA) - 1}, f"Glance records {len(DATA) - 1} bytes, and more came"),
        (whole, {"size": 0}, "Glance records 0 bytes, and more came"),
    ],
)
def test_what_is_not_as_recorded_does_not_land(here: Path, answer: Answer, record: dict[str, Any], told: str) -> None:
    with serving(answer, **record) as glance:
        done = fetch(glance.url, glance.image_id, cwd=here)

    assert (done.returncode, done.stdout, names(here)) == (4, "", [])
    assert f"source-mismatch: {told}" in done.stderr
    assert "Nothing was written." in done.stderr


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(302, Location="http://127.0.0.1:9/elsewhere"), "bad-answer"),
        (status(204), "no-data"),
        (status(401), "forbidden"),
        (status(403), "forbidden"),
        (status(404), "not-found"),
        (status(418), "bad-answer"),
        (encoded, "bad-answer"),
        (ranged, "bad-answer"),
    ],
)
def test_an_answer_that_is_no_image_is_an_error(here: Path, answer: Answer, code: str) -> None:
    answers = [cut(MIB), shifted] if answer is ranged else [answer]
    with serving(*answers) as glance:
        done = fetch(glance.url, "--json", glance.image_id, cwd=here)

    assert (done.returncode, json.loads(done.stdout)["code"], names(here)) == (1, code, [])


@pytest.mark.parametrize(
    "body",
    [
        {"pad": "x" * MIB},
        b"[" * 100_000,
        b"<html>",
        b"\xff",
        b"[]",
        b'{"id": "another"}',
        {"size": -1},
        {"size": "1"},
        {"size": True},
        {"size": 1.5},
        {"checksum": "\x1b[31m"},
        {"checksum": 7},
        {"os_hash_algo": "../../etc"},
        {"os_hash_value": "zz"},
        {"disk_format": "../../../etc/passwd"},
        {"disk_format": ["qcow2"]},
    ],
)
def test_a_record_that_is_none_is_not_believed(here: Path, body: bytes | dict[str, object]) -> None:
    record: dict[str, Any] = {"body": body} if isinstance(body, bytes) else body
    with serving(whole, **record) as glance:
        done = fetch(glance.url, glance.image_id, cwd=here)

    assert (done.returncode, done.stdout, names(here)) == (1, "", [])
    assert "bad-answer: " in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("record", "verified"),
    [
        ({"checksum": None, "os_hash_algo": None, "os_hash_value": None}, []),
        ({"checksum": None, "os_hash_algo": "sha9"}, []),
        ({"checksum": None, "size": None}, ["sha512"]),
        ({"os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()}, ["md5", "sha256"]),
    ],
)
def test_it_says_what_was_verified(here: Path, record: dict[str, Any], verified: list[str]) -> None:
    with serving(whole, disk_format=None, **record) as glance:
        told = json.loads(fetch(glance.url, "--json", glance.image_id, cwd=here).stdout)
        again = fetch(glance.url, "--force", glance.image_id, cwd=here)

    assert (told["verified"], told["file"]) == (verified, f"{glance.image_id}.img")
    assert (again.returncode, "no checksum is recorded" in again.stderr) == (0, not verified)


def test_a_file_that_is_there_is_replaced_only_by_force(here: Path) -> None:
    with serving(whole) as glance:
        path = here / f"{glance.image_id}.qcow2"
        path.write_bytes(b"old")

        done = fetch(glance.url, glance.image_id, cwd=here)

        assert (done.returncode, done.stdout, path.read_bytes()) == (2, "", b"old")
        assert "output-exists" in done.stderr
        assert glance.offsets == []
        assert_fetched(fetch(glance.url, "--force", glance.image_id, cwd=here), glance, here)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["no-uuid"], {}),
        (["--header", "no colon", str(uuid4())], {}),
        (["--header", f"X-Auth-Token: {TOKEN}", str(uuid4())], {}),
        (["--header", f"X: {TOKEN}\r\nY: z", str(uuid4())], {}),
        (["--glance-url", f"ftp://u:{TOKEN}@h/", str(uuid4())], {}),
        (["--glance-url", f"http://u:{TOKEN}@h:port/", str(uuid4())], {}),
        (["--glance-url", "http://\x1b[31m/", str(uuid4())], {}),
        (["--url", f"http://u:{TOKEN}@/", str(uuid4())], {}),
        (["--trusted-key", "key.pem", str(uuid4())], {}),
        ([str(uuid4())], {"OS_TOKEN": "two\nlines"}),
        ([str(uuid4())], {"OS_CACERT": "/no/such/file"}),
    ],
)
def test_usage_is_exit_code_2(here: Path, arguments: list[str], environment: dict[str, str]) -> None:
    done = fetch("http://127.0.0.1:9", *arguments, cwd=here, **environment)

    assert (done.returncode, done.stdout, names(here)) == (2, "", [])
    assert "\x1b" not in done.stderr


def test_where_nobody_answers_it_says_so(here: Path) -> None:
    done = fetch(f"http://u:{TOKEN}@127.0.0.1:9", str(uuid4()), cwd=here)

    assert (done.returncode, done.stdout) == (1, "")
    assert "glance-away: Glance cannot be asked at 127.0.0.1:9 (ConnectionError)" in done.stderr


def test_the_manifest_has_a_say(here: Path, tmp_path: Path) -> None:
    """Glance's own record may have been edited together with the data; what we have computed before has not."""
    with ServeProcess(tmp_path / "serve", {"DEFAULT": {"state_path": tmp_path / "state"}}) as serve:
        image = tmp_path / "image"
        image.write_bytes(DATA)
        command: list[str | Path] = [EXECUTABLE, "try", "--config-file", serve.config_files[-1], "--json", image]
        image_id = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["image_id"]

        with serving(whole, id=image_id) as glance:
            good = fetch(glance.url, "--url", serve.url, "--output", "good", image_id, cwd=here)
            key, other_key = tmp_path / "key.pem", tmp_path / "other.pem"
            key.write_text(requests.get(f"{serve.url}/v1/keys", timeout=30).json()["keys"][0]["public_key"])
            other_key.write_text(new_key().public.pem)
            asking: list[str | Path] = ["--url", serve.url, "--output", "trusted", image_id]
            trusted = fetch(glance.url, "--trusted-key", key, *asking, cwd=here)
            mistrusted = fetch(
                glance.url, "--json", "--force", *asking, cwd=here, MANIFEST_SERVICE_TRUSTED_KEYS=str(other_key)
            )
        with MisbehavingGlance(DATA[:-1] + b"!", [whole], {"id": image_id}) as glance:
            unseen = fetch(glance.url, "--output", "unseen", image_id, cwd=here)
            seen = fetch(glance.url, "--url", serve.url, "--output", "seen", image_id, cwd=here)
        with serving(whole) as glance:
            unknown = fetch(glance.url, "--url", serve.url, "--json", glance.image_id, cwd=here)

    assert (good.returncode, unseen.returncode, seen.returncode, unknown.returncode) == (0, 0, 4, 1)
    assert (trusted.returncode, mistrusted.returncode) == (0, 1)
    assert json.loads(mistrusted.stdout)["code"] == "not-verified"
    assert "source-mismatch: its manifest records " in seen.stderr
    assert json.loads(unknown.stdout)["code"] == "no-manifest"
    assert names(here) == ["good", "trusted", "unseen"]


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_one_that_is_ended_on_its_way_leaves_nothing(here: Path, number: signal.Signals, exit_code: int) -> None:
    with serving(cut(MIB, waits=True)) as glance:
        command: list[str | Path] = [EXECUTABLE, "fetch", "--glance-url", glance.url, glance.image_id]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        with subprocess.Popen(command, cwd=here, env=environment, stderr=subprocess.DEVNULL) as process:
            eventually(lambda: glance.offsets)
            process.send_signal(number)
            assert process.wait(60) == exit_code

    assert names(here) == []


def test_a_full_disk_is_told(here: Path) -> None:
    with serving(whole) as glance:
        done = subprocess.run(
            ["prlimit", f"--fsize={MIB}", EXECUTABLE, "fetch", "--json", "--glance-url", glance.url, glance.image_id],
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.returncode, json.loads(done.stdout)["code"], names(here)) == (1, "output-failed", [])
