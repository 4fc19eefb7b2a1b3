"""The embedded default: `serve` in one terminal, `try` in another; and the demo."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from manifest_service.attestations import envelope
from manifest_service.attestations.keys import load_private_key
from manifest_service.attestations.statement import read_payload
from manifest_service.commands import conversion
from tests import qemu
from tests.servers.service import EXECUTABLE, ServeProcess

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEMO_IMAGE = ROOT / "manifest_service" / "commands" / "demo.qcow2"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path / "serve", {"DEFAULT": {"state_path": tmp_path / "state"}}) as process:
        yield process


def try_image(serve: ServeProcess, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [EXECUTABLE, "try", "--config-file", serve.config_files[-1], *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_try_gives_a_running_service_an_image(serve: ServeProcess, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu.create(image, 5 << 20)
    qemu.io(image, ["write -P 66 2M 1M"])

    done = try_image(serve, "--json", image)

    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert (manifest["status"], manifest["virtual_size"]) == ("ready", 5 << 20)
    assert manifest["digests"]["sha256"] == qemu.sha256_of_disk(image)
    assert sorted(manifest["source"]["checksums"]) == ["md5", "sha512"]
    served = requests.get(f"{serve.url}/v1/manifests/{manifest['image_id']}", timeout=60).json()
    assert served == manifest


def test_try_tells_why_an_image_is_refused(serve: ServeProcess, tmp_path: Path) -> None:
    image = tmp_path / "disguised.raw"
    qemu.create(image, 1 << 20)

    done = try_image(serve, "--disk-format", "raw", image)

    assert done.returncode == 1
    assert "format-mismatch: the image is said to be raw, but its content is qcow2" in done.stdout
    assert "Upload it again under the disk_format that it really has." in done.stdout


def test_try_without_a_service_says_what_to_start(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [EXECUTABLE, "try", "--url", "http://127.0.0.1:9", DEMO_IMAGE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert "service-away" in done.stderr
    assert "start `manifest-service serve`" in done.stderr


def test_try_stores_nothing_where_nobody_answers(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    subprocess.run(
        [EXECUTABLE, "try", "--url", "http://127.0.0.1:9", DEMO_IMAGE],
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_whose_name_is_no_text_can_be_tried(serve: ServeProcess, tmp_path: Path) -> None:
    image = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff\x1b[31mame"))
    image.write_bytes(b"raw")

    done = try_image(serve, "--json", image)

    assert json.loads(done.stdout)["name"] == r"n\udcff\x1b[31mame"


def test_a_broker_that_is_away_keeps_nobody_else_from_starting(tmp_path: Path) -> None:
    options = {"DEFAULT": {"state_path": tmp_path / "state", "transport_url": "rabbit://guest:guest@127.0.0.1:9/"}}
    with ServeProcess(tmp_path / "serve", options) as process:
        done = try_image(process, "--json", DEMO_IMAGE)

    assert json.loads(done.stdout)["status"] == "ready"


@pytest.mark.parametrize("content", [b"x", b"odd number of bytes" * 777])
def test_the_demo_tells_its_story_with_any_raw_image(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image\nname"
    image.write_bytes(content)

    done = subprocess.run([EXECUTABLE, "demo", image], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert " INFO " not in done.stderr
    assert r"image\nname, a raw" in done.stdout


def test_the_demo_needs_a_byte_to_flip(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    done = subprocess.run(
        [EXECUTABLE, "demo", tmp_path / "empty"], capture_output=True, text=True, check=False, timeout=120
    )

    assert (done.returncode, "empty-image" in done.stderr) == (2, True)


def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([EXECUTABLE, "demo"], env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert "1. Upload" in demo.stdout.readline()
        demo.terminate()

    assert demo.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_second_service_on_the_same_address_says_so(serve: ServeProcess) -> None:
    command: list[str | Path] = [EXECUTABLE, "serve", "--config-file", serve.config_files[-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "address-in-use" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_keeps_what_it_knows_over_kill_9(serve: ServeProcess, tmp_path: Path) -> None:
    manifest = json.loads(try_image(serve, "--json", DEMO_IMAGE).stdout)
    serve.kill()
    serve.start()

    answer = requests.get(f"{serve.url}/v1/manifests/{manifest['image_id']}", timeout=60)

    assert answer.json() == manifest


def test_serve_signs_with_a_key_of_its_own_and_keeps_it(serve: ServeProcess, tmp_path: Path) -> None:
    first = json.loads(try_image(serve, "--json", DEMO_IMAGE).stdout)
    key = load_private_key(tmp_path / "state" / "signing-key.pem")
    serve.stop()
    serve.start()
    second = json.loads(try_image(serve, "--json", DEMO_IMAGE).stdout)

    for manifest in (first, second):
        text = requests.get(serve.url + manifest["links"]["statement"], timeout=60).text
        signed = envelope.parse(text)
        assert envelope.verify(signed, [key.public]).key_id == key.public.key_id
        assert read_payload(signed.payload).digests == manifest["digests"]
    keys = requests.get(f"{serve.url}/v1/keys", timeout=60).json()["keys"]
    assert [each["key_id"] for each in keys] == [key.public.key_id]


def test_the_demo_names_both_verdicts(tmp_path: Path, qemu_img: Path) -> None:
    done = subprocess.run([EXECUTABLE, "demo"], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    verdicts = [line.rsplit(": ", 1)[1] for line in done.stdout.splitlines() if " Verify " in line]
    assert verdicts == ["match", "corrupt"]
    assert "virtual_size 2,147,483,648" in done.stdout
    assert qemu.sha256_of_disk(DEMO_IMAGE) in done.stdout
    assert "make serve" in done.stdout


def test_without_qemu_img_our_own_reader_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = qemu.sha256_of_disk(DEMO_IMAGE)
    monkeypatch.setenv("PATH", str(tmp_path))

    by = conversion.convert(DEMO_IMAGE, "qcow2", tmp_path / "disk.raw")

    assert by == "our own reader"
    assert (tmp_path / "disk.raw").stat().st_size == 2 << 30
    assert conversion.sha256_of(tmp_path / "disk.raw") == expected
    assert (tmp_path / "disk.raw").stat().st_blocks * 512 < 64 << 20
