"""Where an image's source is found, by the sections that Glance itself reads."""

import hashlib
import io
from pathlib import Path
from uuid import uuid4

import pytest

from manifest_service import config
from manifest_service.errors import ComputationFailed, UsageError
from manifest_service.images.stores import ImageStores

IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"


def stores(folder: Path, text: str) -> ImageStores:
    file = folder / "glance-api.conf"
    file.write_text(text)
    return ImageStores(config.load([str(file)]))


def single(folder: Path) -> ImageStores:
    return stores(
        folder,
        f"[glance_store]\nstores = file,http\ndefault_store = file\nfilesystem_store_datadir = {folder}/images\n",
    )


def test_what_is_added_is_found_again(tmp_path: Path) -> None:
    found = single(tmp_path)
    image = tmp_path / "image"
    image.write_bytes(b"bytes" * 1000)

    with image.open("rb") as data:
        stored = found.add(IMAGE_ID, data, 5000)

    assert (tmp_path / "images" / IMAGE_ID).read_bytes() == image.read_bytes()
    assert (stored.size, stored.os_hash_algo) == (5000, "sha512")
    assert stored.checksum == hashlib.md5(image.read_bytes()).hexdigest()
    assert stored.os_hash_value == hashlib.sha512(image.read_bytes()).hexdigest()
    with found.open(IMAGE_ID) as source:
        assert source.size == 5000


def test_every_folder_of_a_store_is_looked_into(tmp_path: Path) -> None:
    found = stores(
        tmp_path,
        "[glance_store]\nstores = file\nfilesystem_store_datadir =\n"
        f"filesystem_store_datadirs = {tmp_path}/a:200\nfilesystem_store_datadirs = {tmp_path}/b:100\n",
    )
    (tmp_path / "b" / IMAGE_ID).write_bytes(b"here")

    with found.open(IMAGE_ID) as source:
        assert source.size == 4


def test_every_file_backend_is_looked_into(tmp_path: Path) -> None:
    found = stores(
        tmp_path,
        "[DEFAULT]\nenabled_backends = fast:file,cheap:file,web:http\n[glance_store]\ndefault_backend = fast\n"
        f"[fast]\nfilesystem_store_datadir = {tmp_path}/fast\n[cheap]\nfilesystem_store_datadir = {tmp_path}/cheap\n",
    )
    (tmp_path / "cheap" / IMAGE_ID).write_bytes(b"here")

    with found.open(IMAGE_ID) as source:
        assert source.size == 4
    with pytest.raises(ComputationFailed, match=r"looked in: fast, cheap") as caught:
        found.open(str(uuid4()))
    assert (caught.value.code, caught.value.retriable) == ("source-not-found", True)


@pytest.mark.parametrize("default", ["fast", "cheap"])
def test_what_is_added_goes_to_the_default_backend(tmp_path: Path, default: str) -> None:
    found = stores(
        tmp_path,
        f"[DEFAULT]\nenabled_backends = fast:file,cheap:file\n[glance_store]\ndefault_backend = {default}\n"
        f"[fast]\nfilesystem_store_datadir = {tmp_path}/fast\n[cheap]\nfilesystem_store_datadir = {tmp_path}/cheap\n",
    )

    found.add(IMAGE_ID, io.BytesIO(b"bytes"), 5)

    assert (tmp_path / default / IMAGE_ID).read_bytes() == b"bytes"
    found.remove(IMAGE_ID)
    assert not (tmp_path / default / IMAGE_ID).exists()


def test_a_default_backend_of_another_kind_takes_nothing(tmp_path: Path) -> None:
    found = stores(
        tmp_path,
        "[DEFAULT]\nenabled_backends = fast:file,web:http\n[glance_store]\ndefault_backend = web\n"
        f"[fast]\nfilesystem_store_datadir = {tmp_path}/fast\n",
    )

    with pytest.raises(UsageError, match="default_backend is 'web'"):
        found.add(IMAGE_ID, io.BytesIO(b"bytes"), 5)


def test_a_folder_in_the_image_s_place_is_not_read(tmp_path: Path) -> None:
    found = single(tmp_path)
    (tmp_path / "images" / IMAGE_ID).mkdir()

    with pytest.raises(ComputationFailed, match="not a regular file"):
        found.open(IMAGE_ID)


def test_a_configuration_in_which_nothing_leads_to_an_image_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing says where images are"):
        stores(tmp_path, "[DEFAULT]\nenabled_backends = web:http\n[glance_store]\ndefault_backend = web\n")


def test_the_embedded_default_keeps_images_in_the_state_folder(tmp_path: Path) -> None:
    found = stores(tmp_path, f"[DEFAULT]\nstate_path = {tmp_path}/state\n")
    (tmp_path / "state" / "images" / IMAGE_ID).write_bytes(b"here")

    with found.open(IMAGE_ID) as source:
        assert source.size == 4
