"""The main job, end to end, with nothing faked.

RabbitMQ and PostgreSQL; glance-api from PyPI with its file store and `driver = messagingv2`; our listener, worker and
API as separate processes that take over Glance's own configuration file; qemu-img and sha256sum as the oracle.
"""

import hashlib
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import qemu
from tests.servers.glance import Glance
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import EXECUTABLE, ApiProcess, ListenerProcess, Settings, WorkerProcess
from tests.waiting import eventually

GIB = 1 << 30


@dataclass
class Cloud:
    """Glance, and our three processes beside it."""

    glance: Glance
    listener: ListenerProcess
    worker: WorkerProcess
    api: ApiProcess

    def upload(self, path: Path, disk_format: str) -> str:
        """Upload as a user does, and return the image's id."""
        image_id: str = self.glance.client.create_image(disk_format, name=path.name)["id"]
        with path.open("rb") as data:
            self.glance.client.upload(image_id, data)
        return image_id

    def get(self, image_id: str) -> requests.Response:
        return requests.get(f"{self.api.url}/v1/manifests/{image_id}", timeout=60)

    def ready(self, image_id: str) -> dict[str, Any]:
        """Wait for the manifest, which must come to be ready by itself."""
        eventually(lambda: self.get(image_id).status_code == requests.codes.ok, timeout=300)
        manifest: dict[str, Any] = self.get(image_id).json()
        assert manifest["status"] == "ready", manifest
        return manifest


@pytest.fixture
def cloud(
    glance_factory: Callable[..., Glance], rabbitmq: RabbitMQ, postgresql: PostgreSQL, tmp_path: Path
) -> Iterator[Cloud]:
    # Durable queues, so that a restart of RabbitMQ keeps what nobody has consumed; ours must be of Glance's kind.
    glance = glance_factory(amqp_durable_queues=True)
    url = postgresql.create_database()
    settings: Settings = {
        # Who stops a worker here wants to see it give back what it was at.
        "DEFAULT": {"graceful_shutdown_timeout": "0"},
        "database": {"connection": url},
        "worker": {"lease": "3", "poll_interval": "0.1", "retry_delay": "0.5"},
        "listener": {"requeue_delay": "0.5"},
        "digests": {"algorithms": "sha256,sha512,md5"},
    }
    with running_beside(glance, settings, tmp_path) as cloud:
        yield cloud
    postgresql.drop(url)


@contextmanager
def running_beside(glance: Glance, settings: Settings, folder: Path) -> Iterator[Cloud]:
    """Our three processes, configured by Glance's own file and then by ours."""
    before = [glance.config_file]
    listener = ListenerProcess(folder / "listener", settings, before)
    worker = WorkerProcess(folder / "worker", settings, before)
    api = ApiProcess(folder / "api", settings, before)
    subprocess.run([EXECUTABLE, "db", "upgrade", *_options(api.config_files)], check=True)
    with listener, worker, api:
        yield Cloud(glance, listener, worker, api)


def _options(files: list[Path]) -> list[str | Path]:
    return [part for file in files for part in ("--config-file", file)]


def _make_images(folder: Path) -> dict[str, Path]:
    """A compressed qcow2, an uncompressed one, and a raw image: data, zeros and gaps in each."""
    raw = folder / "disk.raw"
    noise = random.Random(1)
    with raw.open("wb") as file:
        for place in range(0, 96 << 20, 7 << 20):
            file.seek(place)
            file.write(noise.randbytes(1 << 20) + b"text " * 50_000)
        file.truncate((96 << 20) + 512)
    compressed, plain = folder / "compressed.qcow2", folder / "plain.qcow2"
    qemu.convert(raw, compressed, arguments=["-c"])
    qemu.convert(raw, plain)
    return {"compressed": compressed, "plain": plain, "raw": raw}


def _sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_main_job_end_to_end(cloud: Cloud, qemu_img: Path, rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    images = _make_images(tmp_path)
    ids = {name: cloud.upload(path, "raw" if name == "raw" else "qcow2") for name, path in images.items()}

    for name, path in images.items():
        manifest = cloud.ready(ids[name])
        converted = tmp_path / f"{name}.converted"
        subprocess.run([qemu_img, "convert", "-O", "raw", path, converted], check=True)
        assert manifest["virtual_size"] == converted.stat().st_size
        assert manifest["digests"]["sha256"] == _sha256sum(converted)
        assert manifest["digests"]["sha512"] == _digest(converted, "sha512")
        assert manifest["digests"]["md5"] == _digest(converted, "md5")
        assert manifest["source"]["size"] == path.stat().st_size
        assert manifest["source"]["checksums"]["md5"] == _digest(path, "md5")

    cloud.glance.client.delete(ids["plain"])
    eventually(lambda: cloud.get(ids["plain"]).status_code == requests.codes.gone)

    _kill_the_worker_in_the_middle(cloud, tmp_path)
    _restart_the_broker_with_messages_in_it(cloud, rabbitmq, images)

    assert cloud.ready(ids["compressed"])["revision"] == 1
    assert cloud.get(ids["plain"]).status_code == requests.codes.gone
    assert requests.get(f"{cloud.api.url}/healthcheck", timeout=60).json()["queue_length"] == 0


def _kill_the_worker_in_the_middle(cloud: Cloud, folder: Path) -> None:
    large = folder / "large.qcow2"
    qemu.create(large, 12 * GIB)
    qemu.io(large, ["write -P 7 5G 1M"])
    image_id = cloud.upload(large, "qcow2")
    eventually(lambda: (cloud.get(image_id).json().get("progress") or {}).get("done", 0) > 0)
    cloud.worker.kill()
    assert cloud.get(image_id).status_code == requests.codes.accepted

    cloud.worker.start()

    assert cloud.ready(image_id)["digests"]["sha256"] == qemu.sha256_of_disk(large)
    history = requests.get(f"{cloud.api.url}/v1/manifests/{image_id}/history", timeout=60).json()["events"]
    kinds = [event["kind"] for event in history]
    assert kinds.count("ready") == 1
    assert kinds.count("computation-started") == 2


def _restart_the_broker_with_messages_in_it(cloud: Cloud, rabbitmq: RabbitMQ, images: dict[str, Path]) -> None:
    cloud.listener.stop()
    waiting = [cloud.upload(images["compressed"], "qcow2") for _ in range(3)]
    rabbitmq.restart()
    cloud.listener.start()
    for image_id in waiting:
        assert cloud.ready(image_id)["digests"]["sha256"] == qemu.sha256_of_disk(images["compressed"])

    # And while the listener listens: it finds its way back by itself.
    rabbitmq.restart()
    after = cloud.upload(images["raw"], "raw")
    assert cloud.ready(after)["digests"]["sha256"] == _sha256sum(images["raw"])


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@pytest.mark.servers
def test_a_source_that_was_replaced_in_the_store_has_no_manifest(cloud: Cloud, tmp_path: Path) -> None:
    images = _make_images(tmp_path)
    cloud.worker.stop()
    image_id = cloud.upload(images["plain"], "qcow2")
    stored = cloud.glance.store_folder() / image_id
    with stored.open("r+b") as file:
        file.seek(stored.stat().st_size // 2)
        file.write(b"somebody was here")
    cloud.worker.start()

    eventually(lambda: cloud.get(image_id).status_code == requests.codes.ok)

    manifest = cloud.get(image_id).json()
    assert (manifest["status"], manifest["code"], manifest["digests"]) == ("failed", "source-mismatch", {})
    assert "Treat the image as damaged or replaced" in manifest["next_step"]


@pytest.mark.servers
def test_a_worker_that_is_stopped_gives_its_image_back(cloud: Cloud, tmp_path: Path) -> None:
    large = tmp_path / "large.qcow2"
    qemu.create(large, 12 * GIB)
    image_id = cloud.upload(large, "qcow2")
    eventually(lambda: cloud.get(image_id).json().get("status") == "computing")

    cloud.worker.stop()

    assert cloud.get(image_id).json()["status"] == "pending"
    assert "is given back" in cloud.worker.log_text()


@pytest.mark.servers
def test_several_backends_are_taken_over_from_glance(
    glance_factory: Callable[..., Glance], postgresql: PostgreSQL, tmp_path: Path
) -> None:
    glance = glance_factory(backends=["fast", "cheap"])
    url = postgresql.create_database()
    settings: Settings = {"database": {"connection": url}, "worker": {"poll_interval": "0.1", "retry_delay": "0.5"}}
    image = _make_images(tmp_path)["compressed"]
    with running_beside(glance, settings, tmp_path) as cloud:
        image_id: str = glance.client.create_image("qcow2")["id"]
        glance.client.stage(image_id, image.read_bytes())
        glance.client.import_staged(image_id, ["cheap"])
        assert cloud.ready(image_id)["digests"]["sha256"] == qemu.sha256_of_disk(image)
    postgresql.drop(url)


@pytest.mark.servers
def test_glances_own_database_is_left_alone(glance: Glance) -> None:
    command: list[str | Path] = [EXECUTABLE, "db", "upgrade", "--config-file", glance.config_file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "foreign-database" in done.stderr
    assert "give [database] connection a database of our own" in done.stderr
    assert "Traceback" not in done.stderr
