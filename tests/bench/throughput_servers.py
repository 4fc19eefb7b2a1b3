"""The servers that the flow from a notification to a manifest is measured with, all of them private."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from manifest_service import config
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Image
from notifications.glance import GlanceNotifier, upload_payload
from notifications.listener import open_transport
from tests.bench.api_servers import new_database, postgresql
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import ListenerProcess, Settings, write_config

LOOKS = 0.02
"""Seconds between two looks at what has come to be."""
PATIENCE = 900.0
"""Seconds after which something is taken to be stuck."""


@dataclass(frozen=True)
class Site:
    """A broker, a database with our tables, and a file store."""

    folder: Path
    broker: RabbitMQ
    server: PostgreSQL
    database: Database
    url: str

    @property
    def store(self) -> Path:
        """The folder of the file store: an image lies under its id."""
        return self.folder / "images"

    def settings(self, **sections: Mapping[str, object]) -> Settings:
        """The configuration of one of our processes; all else is as it comes."""
        return {
            "DEFAULT": {"transport_url": self.broker.transport_url, "state_path": self.folder},
            "database": {"connection": self.url},
            "glance_store": {"stores": "file", "default_store": "file", "filesystem_store_datadir": self.store},
            **sections,
        }

    def listener(self, name: str = "listener") -> ListenerProcess:
        """Our listener, not started."""
        return ListenerProcess(self.folder / name, self.settings())

    def count_images(self) -> int:
        """Images that a transaction has written down for good."""
        query = select(func.count()).select_from(Image)
        return self.database.read(lambda connection: connection.execute(query).scalar_one())


@contextmanager
def new_site() -> Iterator[Site]:
    """A site without images."""
    with postgresql() as server:
        folder = server.folder.parent
        (folder / "images").mkdir()
        with RabbitMQ(folder / "rabbitmq") as broker:
            url = new_database(server)
            database = Database(url)
            try:
                yield Site(folder, broker, server, database, url)
            finally:
                database.close()


@contextmanager
def notifier(site: Site) -> Iterator[GlanceNotifier]:
    """Sends to a site as its Glance would."""
    conf = config.load([str(write_config(site.folder / "glance.conf", site.settings()))])
    transport = open_transport(conf)
    try:
        yield GlanceNotifier(conf, transport)
    finally:
        transport.cleanup()


def announce(glance: GlanceNotifier, image_ids: Sequence[str], **described: Any) -> None:
    """Say of images that they were uploaded."""
    for image_id in image_ids:
        glance.send("image.upload", upload_payload(image_id, name=f"image {image_id[:8]}", **described))


def new_ids(count: int) -> Sequence[str]:
    """Names of images that nobody has."""
    return [str(uuid.uuid4()) for _ in range(count)]


def wait_until(reached: Callable[[], bool]) -> float:
    """Wait until `reached()` holds, and give the moment (time.perf_counter). Raises SystemExit after a long time."""
    deadline = time.perf_counter() + PATIENCE
    while not reached():
        if time.perf_counter() > deadline:
            raise SystemExit(f"the flow is stuck: {reached} has not come true in {PATIENCE:.0f} s")
        time.sleep(LOOKS)
    return time.perf_counter()
