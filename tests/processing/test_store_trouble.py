"""A worker whose store is in trouble: tried again later, and never held for longer than the image may take."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from manifest_service import config
from manifest_service.images.stores import ImageStores
from manifest_service.manifests.database import Database
from manifest_service.processing.worker import Worker, WorkerSettings
from tests.builders import current, history, observation, observe
from tests.images.small_glance import SmallGlance
from tests.processing.test_worker import SETTINGS
from tests.servers.web import WebServer, stalled, status, whole

pytestmark = pytest.mark.slow

DATA = b"a raw disk" * 100_000


@contextmanager
def worker(web: WebServer, database: Database, folder: Path, settings: WorkerSettings = SETTINGS) -> Iterator[Worker]:
    """A worker beside a Glance that names a web server."""
    with SmallGlance([(web.url, None)]) as glance:
        file = folder / "service.conf"
        file.write_text(
            f"[DEFAULT]\nstate_path = {folder}\n[limits]\nstore_pause = 0\nstore_silence = 30\n"
            f"[glance_store]\nstores = http\n{glance.config}"
        )
        observe(database, observation(size=len(DATA), checksums={}, disk_format="raw"))
        yield Worker(database, ImageStores(config.load([str(file)])), settings, "0.1.0")


def found(database: Database) -> tuple[str, str | None]:
    record = current(database)
    assert record is not None
    return record.status, record.code


def test_a_store_that_is_down_is_tried_again_by_the_queue(local: Database, tmp_path: Path) -> None:
    with WebServer(DATA, [*[status(503)] * 5, whole]) as web, worker(web, local, tmp_path) as working:
        working.work_once()
        assert found(local) == ("pending", "store-broken")
        working.work_once()

    assert found(local) == ("ready", None)
    assert history(local) == [
        "uploaded",
        *["computation-started", "computation-retried"],
        "computation-started",
        "ready",
    ]


def test_a_store_that_falls_silent_takes_no_more_than_the_image_s_time(local: Database, tmp_path: Path) -> None:
    hasty = replace(SETTINGS, max_attempts=1, computation=replace(SETTINGS.computation, time_limit=1.0))

    with WebServer(DATA, [stalled(500_000)]) as web, worker(web, local, tmp_path, hasty) as working:
        working.work_once()

    assert found(local) == ("failed", "time-limit")


def test_a_store_with_another_number_of_bytes_is_a_mismatch(local: Database, tmp_path: Path) -> None:
    with WebServer(DATA + b"more") as web, worker(web, local, tmp_path) as working:
        working.work_once()

    assert found(local) == ("failed", "source-mismatch")
