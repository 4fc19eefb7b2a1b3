"""`manifest-service convert`: qemu-img's very bytes, whole or not at all."""

import filecmp
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from manifest_service.commands.conversion import write_disk
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed
from tests import qemu
from tests.servers import programs
from tests.servers.service import EXECUTABLE
from tests.terminal import said_on
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("qemu_img")]

MIB = 1 << 20
WRITES = ["write -P 65 0 64k", "write -P 66 3M 1M", "write -P 0 5M 1M", "write -P 67 17M 4096", "write -P 68 39M 512"]
WITHOUT_NAMELESS_FILES = """
import pathlib
from manifest_service.commands.main import main
from manifest_service.disks import new_file

new_file._DESCRIPTORS = pathlib.Path("/nowhere")
main()
"""
OURS: list[str | Path] = [EXECUTABLE, "convert"]
NAMED: list[str | Path] = [sys.executable, "-c", WITHOUT_NAMELESS_FILES, "convert"]


def convert(
    *arguments: str | Path, before: Sequence[str | Path] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*before, *OURS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 40 * MIB)
    qemu.io(path, WRITES)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A name in a folder of its own."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "disk.raw"


@pytest.mark.parametrize("options", [["cluster_size=512"], [], ["cluster_size=2M"], ["extended_l2=on"]])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_file_is_qemu_img_s_and_so_is_its_digest(
    tmp_path: Path, out: Path, options: list[str], compressed: bool
) -> None:
    image, theirs = tmp_path / "image", tmp_path / "theirs"
    qemu.create(image, 40 * MIB, options)
    qemu.io(image, WRITES)
    if compressed:
        qemu.img("convert", "-c", "-O", "qcow2", image, tmp_path / "compressed")
        image = tmp_path / "compressed"
    qemu.img("convert", "-O", "raw", image, theirs)

    done = convert(image, out)

    assert done.returncode == 0, done.stderr
    assert ("extended L2" in done.stderr) == ("extended_l2=on" in options and not compressed)
    assert done.stdout == sha256sum(out)
    assert filecmp.cmp(out, theirs, shallow=False)
    assert names(out.parent) == [out.name]
    assert out.stat().st_blocks <= theirs.stat().st_blocks + 8


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 5001, b"MBR" + bytes(8 * MIB) + b"end", os.urandom(3 * MIB + 1)]
)
def test_a_raw_image_is_copied_sparse_and_no_size_is_rounded(tmp_path: Path, out: Path, content: bytes) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(content)

    done = convert(image, out)

    assert (done.returncode, done.stdout) == (0, sha256sum(out))
    assert out.read_bytes() == content
    assert out.stat().st_blocks * 512 <= len(content.replace(bytes(4096), b"")) + 2 * 4096


def test_an_iso_is_copied(tmp_path: Path, out: Path) -> None:
    image = tmp_path / "image.iso"
    image.write_bytes(bytes(0x8001) + b"CD001" + bytes(5000))

    done = convert("--json", image, out)

    assert (json.loads(done.stdout)["format"], done.returncode) == ("iso", 0)
    assert out.read_bytes() == image.read_bytes()


def test_a_foreign_image_is_read_by_qemu_img_in_a_child(tmp_path: Path, image: Path, out: Path) -> None:
    vmdk, theirs = tmp_path / "image.vmdk", tmp_path / "theirs"
    qemu.img("convert", "-O", "vmdk", image, vmdk)
    qemu.img("convert", "-f", "vmdk", "-O", "raw", vmdk, theirs)

    done = convert("--disk-format", "vmdk", vmdk, out)

    assert (done.returncode, done.stdout) == (0, sha256sum(out))
    assert filecmp.cmp(out, theirs, shallow=False)
    assert out.stat().st_blocks <= theirs.stat().st_blocks + 8


def test_json_is_one_object(image: Path, out: Path) -> None:
    done = convert("--json", "-a", "sha256", "-a", "fsverity-sha256", image, out)

    told = json.loads(done.stdout)
    assert (told.pop("digests")["sha256"], done.returncode) == (qemu.sha256_of_disk(image), 0)
    assert told == {
        "file": str(out),
        "format": "qcow2",
        "status": "ready",
        "virtual_size": 40 * MIB,
        "code": None,
        "reason": None,
    }


def test_several_algorithms_are_told_apart(image: Path, out: Path) -> None:
    done = convert("-a", "sha512", "--expect", f"SHA256:{qemu.sha256_of_disk(image).upper()}", image, out)

    assert done.returncode == 0, done.stderr
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == ["SHA512", "SHA256"]


def test_what_is_not_as_expected_does_not_land(image: Path, out: Path) -> None:
    right, wrong = f"sha256:{qemu.sha256_of_disk(image)}", f"sha512:{'ab' * 64}"

    done = convert("--json", "--expect", right, "--expect", wrong, image, out)

    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["code"]) == (4, "failed", "digest-mismatch")
    assert told["reason"].startswith(f"sha512 {'ab' * 64} was expected, but the disk has ")
    assert names(out.parent) == []


def test_what_is_not_as_expected_does_not_replace_what_is_there(image: Path, out: Path) -> None:
    out.write_bytes(b"old")

    done = convert("--force", "--expect", f"sha256:{'ab' * 32}", image, out)

    assert (done.returncode, done.stdout) == (4, "")
    assert "digest-mismatch" in done.stderr
    assert "Nothing was written." in done.stderr
    assert (names(out.parent), out.read_bytes()) == ([out.name], b"old")


def test_a_file_that_is_there_is_replaced_only_by_force(image: Path, out: Path) -> None:
    out.write_bytes(b"old")

    done = convert(image, out)

    assert (done.returncode, done.stdout) == (2, "")
    assert "output-exists" in done.stderr
    assert out.read_bytes() == b"old"
    assert convert("--force", image, out).stdout == sha256sum(out)
    assert names(out.parent) == [out.name]


def test_an_image_may_be_replaced_by_its_own_disk(image: Path) -> None:
    expected = qemu.sha256_of_disk(image)

    done = convert("--force", image, image)

    assert (done.returncode, done.stdout) == (0, f"{expected}  {image}\n")
    assert sha256sum(image) == done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["image"],
        ["--algorithm", "sha0", "image", "out"],
        ["--expect", "sha256", "image", "out"],
        ["--expect", "sha256:abcd", "image", "out"],
        ["--expect", "sha0:abcd", "image", "out"],
        ["--force", "image", "."],
        ["image", ""],
    ],
)
def test_usage_is_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"raw")

    done = convert(*arguments, cwd=tmp_path)

    assert (done.returncode, done.stdout, names(tmp_path)) == (2, "", ["image"])


def test_a_refused_image_is_exit_code_3(tmp_path: Path, image: Path, out: Path) -> None:
    backed = tmp_path / "backed.qcow2"
    qemu.img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, backed)

    done = convert("--json", backed, out)

    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["code"]) == (3, "refused", "backing-file")
    assert names(out.parent) == []
    assert "Flatten it" in convert(backed, out).stderr


def test_an_image_that_is_broken_inside_leaves_nothing(tmp_path: Path, image: Path, out: Path) -> None:
    qemu.img("convert", "-c", "-O", "qcow2", image, tmp_path / "compressed")
    data = (tmp_path / "compressed").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])

    done = convert("--json", tmp_path / "cut", out)

    assert (done.returncode, json.loads(done.stdout)["status"]) == (3, "refused")
    assert names(out.parent) == []


@pytest.mark.parametrize(
    ("image_name", "out_name", "code"),
    [
        ("missing", "out", "source-not-found"),
        ("image", "missing/out", "output-failed"),
        (".", "out", "source-unreadable"),
    ],
)
def test_anything_else_is_exit_code_1(image_name: str, out_name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"raw")

    done = convert("--json", image_name, out_name, cwd=tmp_path)

    assert (done.returncode, json.loads(done.stdout)["code"], names(tmp_path)) == (1, code, ["image"])


def test_an_image_that_changes_meanwhile_leaves_nothing(image: Path, out: Path) -> None:
    def change(done: int, total: int) -> None:
        os.utime(image, ns=(1, 1))

    with FileSource.open(image) as source, pytest.raises(ComputationFailed) as caught:
        write_disk(source, "qcow2", out, ["sha256"], progress=change)

    assert (caught.value.code, names(out.parent)) == ("source-changed", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_is_full_is_told_and_left_as_it_was(image: Path, out: Path) -> None:
    # The mount is in a namespace of its own, which goes with its last process.
    script = 'mount -t tmpfs -o size=512k none "$1" || exit 77; shift; "$@"; status=$?; ls -A "$0"; exit $status'
    before: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, out.parent, out.parent]

    done = convert("--json", image, out, before=before)

    if done.returncode == 77:
        pytest.skip("this container may not mount anything")
    told, *left = done.stdout.splitlines()
    assert (done.returncode, json.loads(told)["code"]) == (1, "output-failed")
    assert json.loads(told)["reason"] == "the output cannot be written: no space left on device"
    assert left == []


def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path, out: Path) -> None:
    image = tmp_path / "large.qcow2"
    qemu.create(image, 300 * MIB)
    qemu.io(image, ["write -P 1 299M 64k"])
    prlimit = programs.find("prlimit", "util-linux")

    done = convert(image, out, before=[prlimit, f"--fsize={250 * MIB}"])

    assert done.returncode == 1
    assert "output-failed: the output cannot be written: file too large" in done.stderr
    assert names(out.parent) == []


@pytest.mark.parametrize("command", [OURS, NAMED], ids=["unnamed", "named"])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 1)])
def test_one_that_is_ended_on_its_way_leaves_nothing(
    tmp_path: Path, out: Path, command: list[str | Path], number: signal.Signals, exit_code: int
) -> None:
    assert end_on_the_way(tmp_path, out, command, number) == exit_code

    assert names(out.parent) == []


def test_kill_9_leaves_nothing_either(tmp_path: Path, out: Path) -> None:
    assert end_on_the_way(tmp_path, out, OURS, signal.SIGKILL) == -signal.SIGKILL

    assert names(out.parent) == []


def end_on_the_way(folder: Path, out: Path, command: list[str | Path], number: signal.Signals) -> int:
    """Send a signal to a conversion of many minutes when it has begun to write."""
    image = folder / "endless.raw"
    with image.open("wb") as file:
        file.write(b"begin" * 1000)
        file.truncate(4 << 40)
    with subprocess.Popen([*command, image, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: any(file.st_blocks for file in open_files(process.pid, out.parent)))
        process.send_signal(number)
        return process.wait(60)


def open_files(pid: int, folder: Path) -> Iterator[os.stat_result]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # It may have been closed meanwhile.
            if os.readlink(link).startswith(f"{folder}/"):
                yield link.stat()


def test_a_bar_is_shown_on_a_terminal_and_gone_before_the_result(image: Path, out: Path) -> None:
    ours, terminal = os.openpty()
    # By its name alone: a long path is shortened in the bar.
    command = [*OURS, image.name, out]
    with subprocess.Popen(command, cwd=image.parent, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        shown = said_on(ours)  # First: who writes to a terminal that nobody reads stands still in the end.
        assert process.stdout is not None
        assert process.stdout.read().endswith(f"  {out}\n")

    assert image.name in shown
    assert shown.endswith("\x1b[2K")


@pytest.mark.parametrize("command", ["convert", "fetch"])
def test_it_needs_nothing_of_the_service(command: str) -> None:
    script = (
        f"import sys, manifest_service.commands.{command};"
        "print(*{name.split('.')[0] for name in sys.modules} & {'oslo_config', 'sqlalchemy', 'glance_store', 'flask',"
        "'oslo_messaging', 'oslo_log', 'pydantic'})"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
