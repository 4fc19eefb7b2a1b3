"""`manifest-service digest`: what scripts hold on to."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import qemu
from tests.servers.service import EXECUTABLE


def digest(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EXECUTABLE, "digest", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 3 << 20)
    qemu.io(path, ["write -P 65 1M 64k"])
    return path


def test_a_line_is_what_sha256sum_would_print_of_the_converted_file(image: Path) -> None:
    done = digest(image)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{qemu.sha256_of_disk(image)}  {image}\n"


def test_several_algorithms_are_told_apart(image: Path) -> None:
    done = digest("--algorithm", "sha256", "-a", "blake3", image)

    assert done.returncode == 0
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == ["SHA256", "BLAKE3"]


def test_json_is_one_object_a_file(image: Path, tmp_path: Path) -> None:
    encrypted = tmp_path / "backed.qcow2"
    qemu.img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, encrypted)

    done = digest("--json", image, encrypted)

    ready, refused = map(json.loads, done.stdout.splitlines())
    assert ready == {
        "file": str(image),
        "format": "qcow2",
        "status": "ready",
        "virtual_size": 3 << 20,
        "digests": {"sha256": qemu.sha256_of_disk(image)},
        "code": None,
        "reason": None,
    }
    assert (refused["status"], refused["code"], refused["digests"]) == ("refused", "backing-file", {})
    assert done.returncode == 3


def test_what_cannot_be_read_is_exit_code_1_and_the_rest_is_done(image: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    done = digest(tmp_path / "missing", fifo, tmp_path, image)

    assert done.returncode == 1
    assert done.stdout.endswith(f"  {image}\n")
    assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
        "source-not-found",
        "source-unreadable",
        "source-unreadable",
    ]


@pytest.mark.parametrize("arguments", [[], ["--algorithm", "sha0", "x"], ["--nonsense"]])
def test_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = digest(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    done = digest(tmp_path / "\x1b[31mred\n")

    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\\x1b[31mred\\n" in done.stderr
