"""Asking a real Glance: where an image is, its bytes, and the hash that no notification has."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from requests import HTTPError

from manifest_service import config
from manifest_service.errors import ComputationFailed
from manifest_service.images.stores import ImageStores
from manifest_service.images.streams.forward import Recorded
from manifest_service.manifests import history as history_of
from manifest_service.manifests.database import Database
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.processing.worker import Worker
from tests import qemu
from tests.builders import current, observation, observe
from tests.images.test_streams import read
from tests.processing.test_worker import SETTINGS
from tests.servers.glance import Glance
from tests.servers.service import Settings, write_config


def stores(glance: Glance, folder: Path, resolve: Sequence[str], roles: str = "service,reader") -> ImageStores:
    """Our own, beside a Glance whose stores are taken over."""
    ours: Settings = {
        "DEFAULT": {"state_path": folder / "state"},
        "glance": {**glance.access(roles), "resolve": ",".join(resolve)},
        "limits": {"store_pause": "0", "store_silence": "10"},
    }
    return ImageStores(config.load([str(glance.config_file), str(write_config(folder / "ours.conf", ours))]))


def uploaded(glance: Glance, path: Path, visibility: str = "shared") -> str:
    image_id: str = glance.client.create_image("qcow2", visibility=visibility)["id"]
    with path.open("rb") as data:
        glance.client.upload(image_id, data)
    return image_id


@pytest.fixture
def qcow2(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 3 << 20)
    qemu.io(path, ["write -P 67 1M 64k"])
    return path


@pytest.mark.parametrize(
    ("resolve", "roles", "read_from"),
    [
        (["convention", "locations", "download"], "reader", "file (convention)"),
        (["locations", "download", "convention"], "service,reader", "file (locations)"),
        (["direct_url", "download"], "service,reader,admin", "glance (download)"),
        (["locations", "download"], "admin", "file (locations)"),
        (["locations", "download"], "member,reader", "glance (download)"),
    ],
)
def test_an_image_is_found_by_the_first_way_that_is_open(
    glance: Glance, qcow2: Path, tmp_path: Path, resolve: list[str], roles: str, read_from: str
) -> None:
    data = qcow2.read_bytes()
    image_id = uploaded(glance, qcow2, visibility="community")

    with stores(glance, tmp_path, resolve, roles).open(image_id, Recorded(len(data), True)) as source:
        assert (source.read_from, source.size) == (read_from, len(data))
        assert read(source, 0, len(data)) == data
        source.verify_unchanged()


def test_an_image_that_glance_does_not_know_is_not_found(glance: Glance, tmp_path: Path) -> None:
    found = stores(glance, tmp_path, ["convention", "locations", "direct_url", "download"])

    with pytest.raises(ComputationFailed) as caught:
        found.open("00000000-0000-4000-8000-000000000000")

    assert (caught.value.code, caught.value.retriable) == ("source-not-found", True)


def test_a_token_that_glance_does_not_take_says_so(glance: Glance, qcow2: Path, tmp_path: Path) -> None:
    image_id = uploaded(glance, qcow2)

    with pytest.raises(ComputationFailed) as caught:
        stores(glance, tmp_path, ["download"], "reader").more_checksums(image_id)

    assert caught.value.code in ("source-not-found", "glance-forbidden")


def test_a_glance_that_is_away_is_asked_again_later(glance: Glance, tmp_path: Path) -> None:
    ours = {"glance": {"auth_type": "none", "endpoint": "http://127.0.0.1:1", "resolve": "download"}}
    away = ImageStores(config.load([str(glance.config_file), str(write_config(tmp_path / "ours.conf", ours))]))

    with pytest.raises(ComputationFailed) as caught:
        away.more_checksums("00000000-0000-4000-8000-000000000000")

    assert (caught.value.code, caught.value.retriable) == ("glance-away", True)


def test_the_hash_that_only_glance_knows_is_verified_and_the_history_says_where_the_bytes_came_from(
    glance: Glance, qcow2: Path, tmp_path: Path, local: Database
) -> None:
    expected, image_id = qemu.sha256_of_disk(qcow2), uploaded(glance, qcow2, visibility="community")
    data = qcow2.read_bytes()
    md5 = hashlib.md5(data).hexdigest()
    observe(local, observation(image_id=image_id, size=len(data), checksums={"md5": md5}))

    Worker(local, stores(glance, tmp_path, ["download"], "service,member,reader"), SETTINGS, "0.1.0").work_once()

    manifest = current(local, image_id)
    assert manifest is not None
    assert (manifest.status, manifest.digests) == ("ready", {"sha256": expected}), manifest.reason
    assert manifest.source_checksums == {"md5": md5, "sha512": hashlib.sha512(data).hexdigest()}
    events = local.transaction(lambda session: history_of.list_history(session, EVERYTHING, image_id, 10))
    assert events[-1].kind == "ready"
    assert events[-1].detail["read_from"] == "glance (download)"


def test_bytes_that_only_the_stronger_hash_tells_apart_are_a_mismatch(
    glance: Glance, qcow2: Path, tmp_path: Path, local: Database
) -> None:
    image_id = uploaded(glance, qcow2, visibility="community")
    stored = glance.store_folder() / image_id
    altered = bytearray(stored.read_bytes())
    altered[-1] ^= 1
    stored.write_bytes(altered)
    # As if the MD5 had a collision.
    md5 = hashlib.md5(altered).hexdigest()
    observe(local, observation(image_id=image_id, size=len(altered), checksums={"md5": md5}))

    Worker(local, stores(glance, tmp_path, ["convention"]), replace(SETTINGS, max_attempts=1), "0.1.0").work_once()

    manifest = current(local, image_id)
    assert manifest is not None
    assert (manifest.status, manifest.code) == ("failed", "source-mismatch")
    assert "sha512" in (manifest.reason or "")


def test_the_tests_glance_keeps_locations_from_those_who_may_not_have_them(glance: Glance, qcow2: Path) -> None:
    image_id = uploaded(glance, qcow2, visibility="community")

    with pytest.raises(HTTPError, match="403"):
        type(glance.client)(glance.endpoint, ("reader",)).locations(image_id)
