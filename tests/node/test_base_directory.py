"""Names in `_base`, as Nova gives them."""

from pathlib import Path

import pytest

from manifest_service.errors import UsageError
from manifest_service.node.base_directory import Kind, cache_name_of, classify, list_files

NAME = cache_name_of("245a8fa1-0861-4783-9ffc-4e4b20f3fe80")


@pytest.mark.parametrize(
    ("name", "kind", "has_image"),
    [
        (NAME, Kind.IMAGE, True),
        (NAME + "_10", Kind.GROWN, True),
        (NAME + "_sm", Kind.GROWN, True),
        (NAME + ".part", Kind.IN_FLIGHT, False),
        (NAME + ".converted", Kind.IN_FLIGHT, False),
        ("ephemeral_20_40d1d2c", Kind.EPHEMERAL, False),
        ("swap_1024", Kind.SWAP, False),
        (NAME.upper(), Kind.UNEXPLAINED, False),
        (NAME[:-1], Kind.UNEXPLAINED, False),
        (NAME + "_", Kind.UNEXPLAINED, False),
        (NAME + "\n", Kind.UNEXPLAINED, False),
        ("lost+found", Kind.UNEXPLAINED, False),
    ],
)
def test_a_name_says_what_a_file_is(name: str, kind: Kind, has_image: bool) -> None:
    file = classify(Path("/somewhere") / name)

    assert file.kind is kind
    assert file.cache_name == (NAME if has_image else None)


def test_a_folder_is_listed_by_name_without_folders(tmp_path: Path) -> None:
    for name in ("swap_1", NAME, "b\udcff"):
        (tmp_path / name).touch()
    (tmp_path / "locks").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert [file.path.name for file in list_files(tmp_path)] == sorted([NAME, "b\udcff", "link", "swap_1"])


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be read as a folder") as caught:
        list_files(tmp_path / name)
    assert caught.value.code == "bad-folder"
