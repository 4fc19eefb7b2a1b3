"""The worlds that pages speak of: one service of our own, or a whole cloud."""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from tests.docs.sandbox import CACHE_NAME, IMAGE, IMAGE_ID, World
from tests.servers.glance import Glance
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import free_port
from tests.servers.service import EXECUTABLE, ServeProcess, Settings, write_config
from tests.waiting import eventually


@pytest.fixture(scope="session")
def local_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One `serve` that knows the image, and the image's disk as a compute node has it."""
    folder = tmp_path_factory.mktemp("local-world")
    state = folder / "state"
    images = state / "images"
    images.mkdir(parents=True)
    (images / IMAGE_ID).write_bytes(IMAGE.read_bytes())
    base = folder / "_base"
    base.mkdir()
    subprocess.run([EXECUTABLE, "convert", IMAGE, base / CACHE_NAME], check=True, capture_output=True)
    with ServeProcess(folder / "serve", {"DEFAULT": {"state_path": state}}) as serve:
        _announce_image(serve.url)
        keys = folder / "keys"
        keys.mkdir()
        (keys / "site.pem").write_text(_public_key(serve.url))
        files = {
            "image.qcow2": IMAGE,
            "site.pem": keys / "site.pem",
            "manifest-service.conf": serve.config_files[0],
            "disk.raw": base / CACHE_NAME,
        }
        yield World(serve.url, files, base, keys)


@pytest.fixture(scope="session")
def glance_with_image(glance_server: Glance) -> Glance:
    """The shared Glance, which keeps the pages' image from then on: it never takes an id twice."""
    glance_server.client.create_image(id=IMAGE_ID, name="debian-12")
    glance_server.client.upload(IMAGE_ID, IMAGE.read_bytes())
    return glance_server


@pytest.fixture
def cloud_world(
    local_world: World,
    glance: Glance,
    glance_with_image: Glance,
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """The same beside a real Glance that has the image, with PostgreSQL and RabbitMQ for what a page starts."""
    folder = tmp_path_factory.mktemp("cloud-world")
    url = postgresql.create_database()
    settings: Settings = {
        "DEFAULT": {"state_path": folder / "state", "log_file": ""},
        "database": {"connection": url},
        "glance": glance.access(),
        "api": {"listen": f"127.0.0.1:{free_port()}"},
    }
    own = write_config(folder / "manifest-service.conf", settings)
    yield replace(
        local_world,
        files={**local_world.files, "glance-api.conf": glance.config_file, "manifest-service.conf": own},
        stand_ins={"http://glance.example:9292": glance.endpoint},
    )
    postgresql.drop(url)


def _announce_image(url: str) -> None:
    """Say what Glance would, and wait for the manifest."""
    data = IMAGE.read_bytes()
    image = {"name": "debian-12", "disk_format": "qcow2", "size": len(data), "checksum": hashlib.md5(data).hexdigest()}
    asked = requests.post(f"{url}/v1/manifests/{IMAGE_ID}/computations", json={"image": image}, timeout=60)
    asked.raise_for_status()
    eventually(lambda: requests.get(f"{url}/v1/manifests/{IMAGE_ID}", timeout=60).status_code == 200)


def _public_key(url: str) -> str:
    keys = requests.get(f"{url}/v1/keys", timeout=60).json()["keys"]
    return str(keys[0]["public_key"])
