"""A listener, a worker and an API, each a process with its figures, over one database and a real broker."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from manifest_service import config
from notifications.glance import GlanceNotifier, upload_payload
from notifications.listener import open_transport
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import EXECUTABLE, ApiProcess, ListenerProcess, Settings, WorkerProcess
from tests.waiting import eventually

DEMO = Path(__file__).parents[2] / "manifest_service" / "commands" / "demo.qcow2"
IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
NAME = "q1\n2026-11-23 12:00:00.000 1 INFO forged [-] image is ready\x1b[2J"


@dataclass
class Service:
    """The three processes, after an image went through all of them. metrics: process → where its figures are."""

    listener: ListenerProcess
    worker: WorkerProcess
    api: ApiProcess
    metrics: dict[str, str]

    def samples(self, process: str) -> Iterator[Sample]:
        """Samples of ours that a process answers."""
        families = text_string_to_metric_families(requests.get(self.metrics[process], timeout=60).text)
        yield from (each for family in families for each in family.samples if each.name.startswith("manifest_service_"))

    def figures(self, process: str) -> dict[str, list[dict[str, str]]]:
        """Their names → the labels of each."""
        found: dict[str, list[dict[str, str]]] = {}
        for sample in self.samples(process):
            found.setdefault(sample.name, []).append(sample.labels)
        return found

    def value(self, process: str, name: str, **labels: str) -> float:
        """Of one sample; 0 where there is none, as before what has these labels happens for the first time."""
        return sum(each.value for each in self.samples(process) if (each.name, each.labels) == (name, labels))

    def all_figures(self) -> dict[str, list[dict[str, str]]]:
        return {name: labels for process in self.metrics for name, labels in self.figures(process).items()}

    def options(self) -> list[str]:
        return ["--config-file", str(self.api.config_files[0])]


@pytest.fixture(scope="package")
def service(rabbitmq_server: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    rabbitmq_server.start()
    folder = tmp_path_factory.mktemp("observed")
    images = folder / "images"
    images.mkdir()
    (images / IMAGE_ID).write_bytes(DEMO.read_bytes())
    ports = {name: free_port() for name in ("listener", "worker")}
    url = rabbitmq_server.transport_url_of(rabbitmq_server.create_virtual_host())
    settings: Settings = {
        "DEFAULT": {"state_path": str(folder), "transport_url": url},
        "glance_store": {"filesystem_store_datadir": str(images)},
        "listener": {"metrics_listen": f"127.0.0.1:{ports['listener']}"},
        "worker": {"metrics_listen": f"127.0.0.1:{ports['worker']}"},
    }
    listener = ListenerProcess(folder / "listener", settings)
    worker = WorkerProcess(folder / "worker", settings)
    api = ApiProcess(folder / "api", settings)
    subprocess.run([EXECUTABLE, "db", "upgrade", "--config-file", api.config_files[0]], check=True)
    with listener, worker, api:
        metrics = {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}
        observed = Service(listener, worker, api, {**metrics, "api": f"{api.url}/metrics"})
        announce(listener.config_files[0])
        eventually(lambda: requests.get(f"{api.url}/v1/manifests/{IMAGE_ID}", timeout=60).status_code == 200)
        # Figures of duties are there once one has ended.
        eventually(lambda: observed.value("api", "manifest_service_duty_end_time_seconds", duty="reconcile") > 0)
        yield observed


def announce(file: Path) -> None:
    """Say as Glance does that an image was uploaded."""
    conf = config.load([str(file)])
    transport = open_transport(conf)
    size = DEMO.stat().st_size
    GlanceNotifier(conf, transport).send("image.upload", upload_payload(IMAGE_ID, name=NAME, size=size))
    transport.cleanup()
