"""Sources: regular files only, opened once, and watched for changes."""

import os
import threading
from pathlib import Path

import pytest

from manifest_service.disks.source import FileSource, read_exactly, read_padded
from manifest_service.errors import ComputationFailed, FailureCode
from tests.disks.sources import BytesSource
from tests.waiting import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4)
    return path


def test_reads_at_any_offset_and_short_only_at_the_end(path: Path) -> None:
    with FileSource.open(path) as source:
        buffer = memoryview(bytearray(100))
        assert source.size == 1024
        assert source.readinto(buffer, 300) == 100
        assert bytes(buffer) == bytes(range(44, 144))
        assert source.readinto(buffer, 1000) == 24
        assert source.readinto(buffer, 1024) == 0
        assert source.readinto(buffer, 1 << 80) == 0


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ComputationFailed) as caught:
        FileSource.open(tmp_path / "nothing")
    assert caught.value.code == FailureCode.SOURCE_NOT_FOUND
    assert caught.value.retriable


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ComputationFailed, match="not a regular file") as caught:
        FileSource.open(tmp_path / "fifo")
    assert caught.value.code == FailureCode.SOURCE_UNREADABLE


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/proc/self/task"])
def test_what_is_not_a_regular_file_is_refused(path: str) -> None:
    open_before = os.listdir("/proc/self/fd")
    with pytest.raises(ComputationFailed) as caught:
        FileSource.open(path)
    assert caught.value.code == FailureCode.SOURCE_UNREADABLE
    assert set(os.listdir("/proc/self/fd")) <= set(open_before)


def test_unreadable_path() -> None:
    with pytest.raises(ComputationFailed, match="cannot be opened: file name too long") as caught:
        FileSource.open("x" * 5000)
    assert caught.value.code == FailureCode.SOURCE_UNREADABLE


def test_another_file_of_the_same_name_does_not_matter(path: Path, tmp_path: Path) -> None:
    with FileSource.open(path) as source:
        (tmp_path / "other").write_bytes(b"x" * 1024)
        (tmp_path / "other").replace(path)
        assert read_padded(source, 0, 2) == b"\0\x01"


def test_unchanged_file_is_verified(path: Path) -> None:
    with FileSource.open(path) as source:
        source.verify_unchanged()


@pytest.mark.parametrize("change", ["touch", "grow", "shrink"])
def test_changed_file_is_noticed(path: Path, change: str) -> None:
    with FileSource.open(path) as source:
        if change == "touch":
            os.utime(path, ns=(0, 0))
        else:
            os.truncate(path, 2048 if change == "grow" else 10)
        with pytest.raises(ComputationFailed) as caught:
            source.verify_unchanged()
    assert caught.value.code == FailureCode.SOURCE_CHANGED
    assert caught.value.retriable


def test_a_change_whose_traces_were_removed_is_noticed(path: Path) -> None:
    """Whoever owns a file can put back its content and its modification time."""
    before = path.stat()
    content = path.read_bytes()
    probe = path.with_name("probe")
    # Of older kernels, several changes within some milliseconds have one time.
    eventually(lambda: probe.write_bytes(b"") == 0 and probe.stat().st_ctime_ns > before.st_ctime_ns)
    with FileSource.open(path) as source:
        path.write_bytes(b"x" * len(content))
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(ComputationFailed, match="changed while it was read"):
            source.verify_unchanged()


def test_what_is_no_regular_file_is_not_even_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    opened = threading.Event()

    def write() -> None:
        with fifo.open("wb"):
            opened.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with pytest.raises(ComputationFailed, match="not a regular file"):
        FileSource.open(fifo)
    assert not opened.wait(0.2)
    with fifo.open("rb"):
        writer.join(10)


def test_shrunken_file_is_not_padded(path: Path) -> None:
    with FileSource.open(path) as source:
        os.truncate(path, 500)
        with pytest.raises(ComputationFailed, match="ends at byte 500; it had 1024") as caught:
            read_padded(source, 400, 200)
    assert caught.value.code == FailureCode.SOURCE_CHANGED


def test_closed_twice(path: Path) -> None:
    source = FileSource.open(path)
    source.close()
    source.close()


def test_padding_is_zeros_past_the_end_only() -> None:
    source = BytesSource(b"abc")
    assert read_padded(source, 1, 4) == b"bc\0\0"
    assert read_padded(source, 3, 2) == b"\0\0"
    assert read_padded(source, 1 << 70, 2) == b"\0\0"


def test_reading_exactly_fails_where_bytes_are_missing() -> None:
    with pytest.raises(ComputationFailed, match="only 1 of 2 bytes"):
        read_exactly(BytesSource(b"abc"), memoryview(bytearray(2)), 2)
