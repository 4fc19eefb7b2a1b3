"""A real Glance with our processes beside it, and what is asked of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from manifest_service.manifests import history, queries, schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import EVERYTHING
from tests.servers.glance import Glance
from tests.servers.service import EXECUTABLE, Settings, WorkerProcess, write_config

DISK = 4096
"""Bytes of a small raw image."""

QUICK: Settings = {
    "worker": {"lease": "20", "poll_interval": "0.1", "retry_delay": "0.2"},
    "listener": {"requeue_delay": "0.5"},
    "digests": {"algorithms": "sha256"},
}


@dataclass
class Cloud:
    """Glance, our database, and how our processes are configured to reach both."""

    glance: Glance
    database: Database
    settings: Settings
    folder: Path
    config_files: list[Path] = field(default_factory=list)

    def upload(self, data: bytes | None = None, disk_format: str = "raw", **properties: object) -> str:
        """Upload as a user does, and return the image's id."""
        image_id: str = self.glance.client.create_image(disk_format, "bare", **properties)["id"]
        self.glance.client.upload(image_id, os.urandom(DISK) if data is None else data)
        return image_id

    def upload_many(self, count: int) -> list[str]:
        """One after the other: two at once meet in Glance's SQLite, and one of them fails."""
        return [self.upload() for _ in range(count)]

    def call(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of ours with this cloud's configuration."""
        options = [part for file in self.config_files for part in ("--config-file", str(file))]
        done = subprocess.run([EXECUTABLE, *arguments, *options], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done

    def worker(self, name: str) -> WorkerProcess:
        """A worker process, not started yet."""
        return WorkerProcess(self.folder / name, self.settings, [self.glance.config_file])

    def manifest(self, image_id: str) -> ManifestRecord | None:
        return self.database.transaction(lambda session: queries.get_current(session, EVERYTHING, image_id))

    def status(self, image_id: str) -> str | None:
        record = self.manifest(image_id)
        return None if record is None else record.status

    def statuses(self, image_ids: Sequence[str]) -> set[str | None]:
        """Of all of these, in one look."""
        records = self.database.transaction(lambda session: queries.find_by_image_ids(session, EVERYTHING, image_ids))
        found = {record.image_id: str(record.status) for record in records}
        return {found.get(image_id) for image_id in image_ids}

    def history(self, image_id: str) -> list[str]:
        events = self.database.transaction(lambda session: history.list_history(session, EVERYTHING, image_id, 100))
        return [event.kind for event in events]


@contextmanager
def cloud_of(glance: Glance, database_url: str, folder: Path, settings: Settings) -> Iterator[Cloud]:
    """A cloud whose database has our tables. settings: of our own file, beside `QUICK`."""
    merged = {**QUICK, **settings, "database": {"connection": database_url}, "glance": glance.access()}
    with ExitStack() as stack:
        database = Database(database_url)
        stack.callback(database.close)
        schema.upgrade(database)
        own = write_config(folder / "manifest-service.conf", merged)
        yield Cloud(glance, database, merged, folder, [glance.config_file, own])
