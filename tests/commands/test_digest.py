"""`manifest-service digest`: what scripts hold on to."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import qemu
from tests.servers.service import EXECUTABLE
from tests.terminal import said_on

pytestmark = pytest.mark.slow


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


def test_names_are_escaped_as_sha256sum_does(tmp_path: Path) -> None:
    names = ["line\nbreak", "back\\slash", "car\rriage", "plain"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())

    ours = subprocess.run([EXECUTABLE, "digest", *names], cwd=tmp_path, capture_output=True, check=True)
    theirs = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True)

    assert ours.stdout == theirs.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_a_file_that_may_not_be_read_does_not_keep_the_others_from_being_computed(tmp_path: Path) -> None:
    good, secret = tmp_path / "good", tmp_path / "secret"
    good.write_bytes(b"good")
    secret.write_bytes(b"secret")
    secret.chmod(0)

    # Even root may not read it without this capability.
    without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    done = subprocess.run(
        [*without, EXECUTABLE, "digest", "--json", good, secret], capture_output=True, text=True, check=False
    )

    statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert (statuses, done.returncode) == (["ready", "failed"], 1)


@pytest.mark.parametrize("target", ["/dev/full", None])
def test_output_that_cannot_be_written_is_an_error(tmp_path: Path, target: str | None) -> None:
    (tmp_path / "file").write_bytes(b"x")
    redirection = ">&-" if target is None else f">{target}"

    done = subprocess.run(
        ["sh", "-c", f'exec "$0" digest file {redirection}', EXECUTABLE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_block_map_goes_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)

    subprocess.run([EXECUTABLE, "digest", "--bmap", "map", "file"], cwd=tmp_path, capture_output=True, check=True)

    assert "<ImageSize> 5000 </ImageSize>" in (tmp_path / "map").read_text()


def test_one_block_map_is_not_for_several_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [EXECUTABLE, "digest", "--bmap", "map", "a", "b"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "--bmap is for one FILE" in done.stderr


def test_a_bar_is_shown_on_a_terminal_and_gone_before_the_result(image: Path) -> None:
    ours, terminal = os.openpty()
    # By its name alone: a long path is shortened in the bar.
    command: list[str | Path] = [EXECUTABLE, "digest", image.name]
    with subprocess.Popen(command, cwd=image.parent, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        shown = said_on(ours)  # First: who writes to a terminal that nobody reads stands still in the end.
        assert process.stdout is not None
        assert process.stdout.read().endswith(f"  {image.name}\n")

    assert image.name in shown
    assert shown.endswith("\x1b[2K")  # the bar's line is erased last
