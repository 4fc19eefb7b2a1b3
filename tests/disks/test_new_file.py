"""A file that is there whole, or not at all, on every kind of file system."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifest_service.disks import new_file
from manifest_service.disks.new_file import NewFile
from manifest_service.errors import OutputFailed, UsageError


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    # What a test before has left may have been closed meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before


def _no_hard_links(*arguments: object, **options: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(params=["unnamed", "named", "without hard links"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system offers: files without a name; only named ones; not even two names for one file."""
    if request.param != "unnamed":
        monkeypatch.setattr(new_file, "_DESCRIPTORS", Path("/nowhere"))
    if request.param == "without hard links":
        monkeypatch.setattr(os, "link", _no_hard_links)
    kind: str = request.param
    return kind


def write(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    with NewFile(path, overwrite=overwrite) as file:
        os.write(file.descriptor, content)
        file.land()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_there_after_it_has_landed(tmp_path: Path, kind: str) -> None:
    with NewFile(tmp_path / "out") as file:
        os.write(file.descriptor, b"content")
        hidden = [] if kind == "unnamed" else [name for name in names(tmp_path) if name.endswith(".part")]
        assert names(tmp_path) == hidden
        file.land()

    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"content"


def test_its_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "out", b"")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_of_one_that_has_not_landed(tmp_path: Path, overwrite: bool) -> None:
    def write_half() -> None:
        with NewFile(tmp_path / "out", overwrite=overwrite) as file:
            os.write(file.descriptor, b"cont")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert names(tmp_path) == []


def test_what_is_there_is_not_replaced_unless_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")

    with pytest.raises(UsageError) as caught:
        write(tmp_path / "out", b"new")

    assert caught.value.code == "output-exists"
    assert (names(tmp_path), (tmp_path / "out").read_bytes()) == (["out"], b"old")
    write(tmp_path / "out", b"new", overwrite=True)
    assert (names(tmp_path), (tmp_path / "out").read_bytes()) == (["out"], b"new")


def test_what_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with NewFile(tmp_path / "out") as file:
        (tmp_path / "out").write_bytes(b"somebody else's")
        with pytest.raises(UsageError) as caught:
            file.land()

    assert caught.value.code == "output-exists"
    assert (names(tmp_path), (tmp_path / "out").read_bytes()) == (["out"], b"somebody else's")


def test_what_came_meanwhile_is_replaced_only_if_it_is_a_regular_file(tmp_path: Path) -> None:
    with NewFile(tmp_path / "out", overwrite=True) as file:
        os.mkfifo(tmp_path / "out")
        with pytest.raises(UsageError) as caught:
            file.land()

    assert (caught.value.code, names(tmp_path)) == ("output-no-file", ["out"])


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("thing", ["folder", "fifo", "link", "dangling link"])
def test_only_regular_files_are_ever_replaced(tmp_path: Path, thing: str, overwrite: bool) -> None:
    path, target = tmp_path / "out", tmp_path / "target"
    match thing:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            target.write_bytes(b"target")
            path.symlink_to(target)
        case _:
            path.symlink_to(target)
    before = names(tmp_path)

    with pytest.raises(UsageError) as caught:
        write(path, b"new", overwrite=overwrite)

    assert caught.value.code == "output-no-file"
    assert names(tmp_path) == before


def test_the_folder_is_the_one_of_the_beginning(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with NewFile(folder / "out") as file:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        file.land()

    assert (names(tmp_path / "moved"), names(folder)) == (["out"], [])


@pytest.mark.parametrize("name", ["no-such-folder/out", "file/out", "n" * 300])
def test_where_no_file_can_be_made_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputFailed, match="the output cannot be made"):
        write(tmp_path / name, b"")

    assert names(tmp_path) == ["file"]


def test_the_longest_name_has_room_for_its_temporary_one(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255), b"new", overwrite=True)

    assert names(tmp_path) == ["n" * 255]


def test_a_disk_that_fails_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputFailed, match="no space left on device"):
        write(tmp_path / "out", b"content")

    assert names(tmp_path) == []
