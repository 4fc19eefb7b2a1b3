"""Scrubbing: what changed in the store, or in Glance's record, is told once, and within the day's budget."""

import hashlib
import os
import threading
from datetime import UTC, date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.manifests import history as history_of
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.models import Manifest
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.manifests.work_models import Scrub
from manifest_service.processing import scrub as scrubbing
from manifest_service.processing.low_priority import lower_priority
from manifest_service.processing.scrub import Budget, ScrubSettings
from tests.builders import claimed, computed, finish, history, observation, observe
from tests.processing.running_duties import run
from tests.processing.simulated_glance import SimulatedGlance, numbered, record
from tests.stores import FolderStore

UNBOUNDED = ScrubSettings(bytes_per_day=None, rate=0, interval=0)
BYTES = 3 << 20


class Cloud:
    """Images that are ready, in a store and in Glance."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.glance = SimulatedGlance()

    def add(self, number: int) -> str:
        image_id = numbered(number)
        data = bytes([number]) * BYTES
        (self.folder / image_id).write_bytes(data)
        md5 = {"md5": hashlib.md5(data).hexdigest()}
        observe(self.database, observation(image_id=image_id, size=BYTES, checksums=md5))
        finish(self.database, claimed(self.database), computed(source_size=BYTES, source_checksums=md5))
        self.glance.add(
            record(image_id, size=BYTES, checksums=md5 | {"sha512": hashlib.sha512(data).hexdigest()}, status="active")
        )
        return image_id

    def overwrite(self, image_id: str, data: bytes = b"somebody was here") -> None:
        with (self.folder / image_id).open("r+b") as file:
            file.seek(BYTES // 2)
            file.write(data)

    def scrub(self, settings: ScrubSettings = UNBOUNDED, image_id: str | None = None, *, ask: bool = True) -> Any:
        glance = self.glance if ask else None
        return run(
            self.database, scrubbing.Scrub(self.database, FolderStore(self.folder), glance, settings, image_id=image_id)
        )

    def events(self, kind: EventKind = EventKind.SOURCE_CHANGED) -> list[tuple[str | None, Any]]:
        found = self.database.transaction(
            lambda session: history_of.list_events(session, EVERYTHING, EventFilter(kind=kind), 9)
        )
        return [(event.image_id, event.detail) for event in reversed(found)]


@pytest.fixture
def cloud(local: Database, tmp_path: Path) -> Cloud:
    return Cloud(local, tmp_path)


def test_what_is_as_it_was_is_not_told(database: Database, tmp_path: Path) -> None:
    cloud = Cloud(database, tmp_path)
    image_ids = [cloud.add(number) for number in (1, 2)]

    assert cloud.scrub() == {"images": 2, "bytes": 2 * BYTES, "changed": 0, "unreadable": 0}

    assert cloud.events() == []
    assert history(database, image_ids[0]) == ["uploaded", "computation-started", "ready"]


def test_a_file_that_was_overwritten_is_found_and_told_once(database: Database, tmp_path: Path) -> None:
    cloud = Cloud(database, tmp_path)
    image_id = cloud.add(1)
    cloud.add(2)
    cloud.overwrite(image_id)

    assert [cloud.scrub()["changed"] for _ in range(2)] == [1, 0]

    ((told, detail),) = cloud.events()
    assert (told, detail["place"], detail["revision"], set(detail["differs"])) == (image_id, "store", 1, {"md5"})
    assert history(database, image_id)[-2:] == ["source-changed", "immutability-violation"]


def test_each_further_change_is_told_and_a_repair_in_between_too(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    for data in (b"first", b"second", bytes([1]) * 6, b"second"):
        cloud.overwrite(image_id, data)
        cloud.scrub()

    assert len(cloud.events()) == 3


@pytest.mark.parametrize("algorithm", ["md5", "sha512"])
def test_a_checksum_that_was_edited_in_glance_is_found(cloud: Cloud, algorithm: str) -> None:
    image_id = cloud.add(1)
    kept = cloud.glance.images[image_id]
    edited = dict(kept.checksums) | {algorithm: "00" * (len(kept.checksums[algorithm]) // 2)}
    cloud.glance.add(record(image_id, size=BYTES, checksums=edited))

    assert [cloud.scrub()["changed"] for _ in range(2)] == [1, 0]

    ((_, detail),) = cloud.events()
    assert (detail["place"], set(detail["differs"])) == ("glance", {algorithm})


def test_a_change_in_both_places_is_told_of_both(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    cloud.overwrite(image_id)
    data = (cloud.folder / image_id).read_bytes()
    cloud.glance.add(record(image_id, size=BYTES, checksums={"md5": hashlib.md5(data).hexdigest()}))

    cloud.scrub()

    assert [detail["place"] for _, detail in cloud.events()] == ["store", "glance"]
    assert len(cloud.events(EventKind.IMMUTABILITY_VIOLATION)) == 2


def test_a_file_that_is_missing_is_found_where_glance_still_has_the_image(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    (cloud.folder / image_id).unlink()

    assert cloud.scrub(ask=False) == {"images": 1, "bytes": 0, "changed": 0, "unreadable": 1}
    assert [cloud.scrub()["changed"] for _ in range(3)] == [0, 1, 0]

    ((_, detail),) = cloud.events()
    assert (detail["place"], set(detail)) == ("store", {"place", "revision", "reason"})
    assert detail["reason"].startswith("source-not-found: ")


def test_a_deletion_on_its_way_is_no_change(cloud: Cloud) -> None:
    """Glance deletes the data first, and says only then that it has them no more."""
    image_id = cloud.add(1)
    file = cloud.folder / image_id
    away = file.rename(cloud.folder / "away")

    assert cloud.scrub() == {"images": 1, "bytes": 0, "changed": 0, "unreadable": 1}
    kept = cloud.glance.images.pop(image_id)
    cloud.scrub()
    assert cloud.events() == []

    # What was suspected is forgotten once the data are seen again.
    cloud.glance.images[image_id] = kept
    away.rename(file)
    cloud.scrub()
    file.unlink()
    assert cloud.scrub()["changed"] == 0
    assert cloud.events() == []


def test_what_was_missing_is_looked_for_again_before_the_interval_is_over(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    (cloud.folder / image_id).unlink()
    weekly = ScrubSettings(bytes_per_day=None, rate=0, interval=7 * 86400)
    cloud.scrub(weekly, image_id)

    assert cloud.scrub(weekly)["images"] == 0
    _earlier(cloud.database, timedelta(minutes=16))
    assert [cloud.scrub(weekly)["changed"] for _ in range(2)] == [1, 0]


def _earlier(database: Database, by: timedelta) -> None:
    """As if all had been read so long ago."""
    at = database.transaction(lambda session: session.scalars(select(Scrub.scrubbed_at)).one())
    database.transaction(lambda session: session.execute(update(Scrub).values(scrubbed_at=at - by)))


@pytest.mark.parametrize("status", [None, "saving"])
def test_an_image_that_glance_has_no_more_is_a_matter_of_reconciling(cloud: Cloud, status: str | None) -> None:
    image_id = cloud.add(1)
    cloud.overwrite(image_id)
    if status is None:
        del cloud.glance.images[image_id]
    else:
        cloud.glance.add(record(image_id, status=status))

    assert cloud.scrub()["images"] == 0

    assert cloud.events() == []


def test_a_finding_stands_while_its_place_cannot_be_looked_at(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    cloud.overwrite(image_id)
    edited = dict(cloud.glance.images[image_id].checksums) | {"md5": "00" * 16}
    cloud.glance.add(record(image_id, size=BYTES, checksums=edited))
    assert cloud.scrub()["changed"] == 1

    away = (cloud.folder / image_id).rename(cloud.folder / "away")
    (cloud.folder / image_id).mkdir()  # a store that gives nothing
    assert cloud.scrub(ask=False)["unreadable"] == 1
    (cloud.folder / image_id).rmdir()
    away.rename(cloud.folder / image_id)

    assert cloud.scrub() == {"images": 1, "bytes": BYTES, "changed": 0, "unreadable": 0}
    assert [detail["place"] for _, detail in cloud.events()] == ["store", "glance"]


def test_images_that_glance_has_no_more_neither_spend_the_budget_nor_stand_before_others(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "_CANDIDATES", 2)
    for number in (1, 2):
        del cloud.glance.images[cloud.add(number)]
    cloud.add(3)

    assert cloud.scrub(ScrubSettings(bytes_per_day=1, rate=0, interval=0))["images"] == 1


def test_a_record_that_cannot_be_read_keeps_no_source_from_being_read(cloud: Cloud) -> None:
    odd, _ = cloud.add(1), cloud.add(2)
    cloud.overwrite(odd)

    def answer(image_id: str) -> None:
        if image_id == odd:
            raise DownloadFailed(DownloadCode.BAD_ANSWER, "the answer has more than 1048576 bytes")

    cloud.glance.before_show = answer

    assert cloud.scrub() == {"images": 2, "bytes": 2 * BYTES, "changed": 1, "unreadable": 1}


def test_a_store_that_drips_is_left_after_a_while(cloud: Cloud) -> None:
    cloud.add(1)
    cloud.add(2)

    found = cloud.scrub(ScrubSettings(bytes_per_day=None, rate=0, interval=0, time_limit=0))

    assert found == {"images": 2, "bytes": 0, "changed": 0, "unreadable": 2}


def test_the_budget_is_shared_and_what_was_read_longest_ago_comes_first(cloud: Cloud) -> None:
    image_ids = [cloud.add(number) for number in range(4)]
    settings = ScrubSettings(bytes_per_day=2 * BYTES - 1, rate=0, interval=0)
    cloud.scrub(image_id=image_ids[0])  # counts too

    read = [cloud.scrub(settings)["images"] for _ in range(3)]  # three processes, or one that was started again

    assert read == [1, 0, 0]
    rows = cloud.database.transaction(lambda session: session.scalars(select(Scrub.manifest_id)).all())
    assert len(rows) == 2
    cloud.scrub(ScrubSettings(bytes_per_day=9 * BYTES, rate=0, interval=0))
    assert len(cloud.database.transaction(lambda session: session.scalars(select(Scrub.manifest_id)).all())) == 4


@pytest.mark.parametrize(("days", "spent", "left"), [(0, 30, 30), (1, 30, 20), (2, 30, 10), (9, 30, 0), (-1, 30, 30)])
def test_what_an_image_takes_too_much_is_taken_off_the_next_days(days: int, spent: int, left: int) -> None:
    today = date(2026, 11, 25)
    state = {"day": (today - timedelta(days=days)).isoformat(), "spent": spent}

    assert Budget.of(state, today, 10) == Budget(today, left)
    assert Budget.of({"day": "no day"}, today, 10) == Budget(today, 0)


def test_a_source_is_read_again_after_the_interval_only(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    weekly = ScrubSettings(bytes_per_day=None, rate=0, interval=7 * 86400)

    assert cloud.scrub(weekly)["images"] == 0

    before = cloud.database.transaction(database_now).astimezone(UTC) - timedelta(days=8)
    cloud.database.transaction(lambda session: session.execute(update(Manifest).values(computed_at=before)))
    assert [cloud.scrub(weekly)["images"] for _ in range(2)] == [1, 0]
    assert cloud.scrub(weekly, image_id)["images"] == 1


def test_the_rate_is_kept(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.add(1)
    waits: list[float] = []
    monkeypatch.setattr("manifest_service.processing.duties.KeptDuty.wait", lambda kept, seconds: waits.append(seconds))
    monkeypatch.setattr("manifest_service.processing.scrub.time", SimpleNamespace(monotonic=lambda: 7.0))

    cloud.scrub(ScrubSettings(bytes_per_day=None, rate=1 << 20, interval=0))

    assert waits == [0.0, 1.0, 2.0]


def test_another_revision_that_came_meanwhile_is_not_told_of(cloud: Cloud) -> None:
    image_id = cloud.add(1)
    cloud.overwrite(image_id)
    other = observation(image_id=image_id, size=BYTES, checksums={"md5": "0" * 32}, observed_at=_later())
    cloud.glance.before_show = lambda _: observe(cloud.database, other)

    cloud.scrub()

    assert cloud.events() == []


def _later() -> Any:
    return observation().observed_at + timedelta(seconds=5)


def test_a_lowered_priority_is_the_thread_s_own() -> None:
    levels: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def lower() -> None:
        lower_priority()
        levels.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=lower)
    thread.start()
    thread.join()

    assert levels == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
