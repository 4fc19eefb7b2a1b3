"""Which workers of a process leave large images to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifest_service import config
from manifest_service.commands.wiring import make_worker_pool
from manifest_service.images.stores import ImageStores
from manifest_service.manifests.database import Database
from manifest_service.processing.lanes import Preference


@pytest.mark.parametrize(
    ("concurrency", "asked", "small_only"), [(1, None, 0), (2, None, 1), (4, None, 1), (1, 1, 1), (4, 0, 0), (4, 2, 2)]
)
def test_one_of_several_workers_is_left_for_small_images(
    tmp_path: Path, concurrency: int, asked: int | None, small_only: int
) -> None:
    options = f"concurrency = {concurrency}\n" + (f"small_only = {asked}\n" if asked is not None else "")
    file = tmp_path / "manifest-service.conf"
    file.write_text(f"[DEFAULT]\nstate_path = {tmp_path}\n[worker]\n{options}")
    conf = config.load([str(file)])
    database = Database(conf.database.connection)

    pool = make_worker_pool(conf, database, ImageStores(conf))

    preferences = [worker._turns.preference for worker in pool._workers]
    assert preferences.count(Preference.SMALL_ONLY) == small_only
    assert len(preferences) == concurrency
    database.close()


@pytest.mark.parametrize(("processes", "concurrency", "small_only"), [(1, 1, 0), (2, 1, 1), (3, 1, 1), (2, 2, 2)])
def test_one_of_several_processes_is_left_for_small_images(
    tmp_path: Path, processes: int, concurrency: int, small_only: int
) -> None:
    file = tmp_path / "manifest-service.conf"
    section = f"[worker]\nprocesses = {processes}\nconcurrency = {concurrency}\n"
    file.write_text(f"[DEFAULT]\nstate_path = {tmp_path}\n{section}")
    conf = config.load([str(file)])
    database = Database(conf.database.connection)

    pools = [make_worker_pool(conf, database, ImageStores(conf), process=number) for number in range(processes)]

    preferences = [worker._turns.preference for pool in pools for worker in pool._workers]
    assert preferences.count(Preference.SMALL_ONLY) == small_only
    database.close()
