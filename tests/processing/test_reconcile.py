"""Reconciling: nothing is marked as deleted that may not be, and what is stuck is freed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from manifest_service.errors import DownloadFailed
from manifest_service.manifests import history as history_of
from manifest_service.manifests.database import Database
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing.reconcile import Reconcile, ReconcileSettings
from tests.builders import IMAGE_ID, NOON, claimed, current, finish, history, observation, observe, queued
from tests.processing.running_duties import run
from tests.processing.simulated_glance import SimulatedGlance, numbered, record

LATER = NOON + timedelta(seconds=1)


def reconcile(database: Database, glance: SimulatedGlance | None, largest_loss: float = 50) -> dict[str, Any]:
    return dict(run(database, Reconcile(database, glance, ReconcileSettings(largest_loss=largest_loss))))


def known(database: Database, glance: SimulatedGlance, count: int) -> None:
    """Have Glance and our database know the same images."""
    glance.add(*(record(numbered(number)) for number in range(count)))
    observe(database, *(observation(image_id=numbered(number), owner="p1") for number in range(count)))


def statuses(database: Database, count: int) -> list[str]:
    records = [current(database, numbered(number)) for number in range(count)]
    return [record.status for record in records if record is not None]


def held_back(database: Database) -> list[Any]:
    wanted = EventFilter(kind=EventKind.DELETIONS_HELD_BACK)
    return [
        event.detail
        for event in database.transaction(lambda session: history_of.list_events(session, EVERYTHING, wanted, 9))
    ]


def test_missed_uploads_are_queued_and_missed_deletions_marked(database: Database) -> None:
    glance = SimulatedGlance()
    known(database, glance, 3)
    del glance.images[numbered(1)]
    glance.add(record(IMAGE_ID))

    done = reconcile(database, glance)

    assert (done["new"], done["gone"], done["deleted"], done["held_back"]) == (1, 1, 1, None)
    assert statuses(database, 3) == ["pending", "deleted", "pending"]
    assert history(database, numbered(1)) == ["uploaded", "deleted"]
    assert current(database).status == "pending"  # type: ignore[union-attr]
    again = reconcile(database, glance)
    assert (again["new"], again["unchanged"], again["deleted"]) == (0, 3, 0)


def test_what_a_message_said_of_a_time_that_lies_ahead_is_put_right(local: Database) -> None:
    glance = SimulatedGlance()
    known(local, glance, 1)
    far = datetime(9999, 1, 1, tzinfo=UTC)
    observe(local, observation(image_id=numbered(0), owner="forged", visibility="public", updated_at=far))

    assert reconcile(local, glance)["changed"] == 1

    found = current(local, numbered(0))
    assert found is not None
    assert (found.owner, found.visibility) == ("p1", "shared")


def test_a_walk_that_broke_off_marks_nothing(local: Database) -> None:
    glance = SimulatedGlance(pages_until_away=1)
    known(local, glance, 3)
    glance.images.clear()

    with pytest.raises(DownloadFailed):
        reconcile(local, glance)

    assert statuses(local, 3) == ["pending"] * 3


def test_an_image_that_glance_has_after_all_is_not_marked(local: Database) -> None:
    glance = SimulatedGlance()
    known(local, glance, 3)
    moved = glance.images.pop(numbered(2))
    glance.before_show = lambda image_id: glance.add(moved)  # hidden, for instance, behind the walk's back

    done = reconcile(local, glance)

    assert (done["gone"], done["deleted"]) == (1, 0)
    assert statuses(local, 3) == ["pending"] * 3


def test_one_who_does_not_see_everything_marks_nothing(local: Database) -> None:
    glance = SimulatedGlance(is_admin=False)
    known(local, glance, 2)
    del glance.images[numbered(1)]

    assert [reconcile(local, glance)["held_back"] for _ in range(2)] == ["not-admin", "not-admin"]

    assert statuses(local, 2) == ["pending"] * 2
    assert glance.asked_for == []
    assert held_back(local) == [{"code": "not-admin", "gone": 1}]  # told once, not each hour


@pytest.mark.parametrize("left", [0, 3])
def test_a_loss_that_is_hard_to_believe_is_held_back_until_somebody_says_so(local: Database, left: int) -> None:
    glance = SimulatedGlance(page=100)
    known(local, glance, 12)
    for number in range(left, 12):
        del glance.images[numbered(number)]

    done = reconcile(local, glance)

    assert (done["held_back"], done["deleted"]) == ("too-many-gone", 0)
    assert held_back(local) == [{"code": "too-many-gone", "gone": 12 - left}]
    assert reconcile(local, glance, largest_loss=100)["deleted"] == 12 - left
    assert statuses(local, 12).count("deleted") == 12 - left


def test_images_of_another_site_are_left_alone(local: Database) -> None:
    glance = SimulatedGlance()
    known(local, glance, 1)
    observe(local, observation())
    local.transaction(
        lambda session: session.execute(update(Image).where(Image.image_id == IMAGE_ID).values(imported_at=NOON))
    )

    assert reconcile(local, glance)["gone"] == 0


def test_a_conclusion_that_was_wrong_is_taken_back(local: Database) -> None:
    glance = SimulatedGlance()
    known(local, glance, 3)
    finish(local, claimed(local))
    before = dict(glance.images)
    glance.images = {}
    reconcile(local, glance)
    assert statuses(local, 3) == ["deleted"] * 3

    glance.images = before
    done = reconcile(local, glance)

    assert done["restored"] == 3
    assert sorted(statuses(local, 3)) == ["pending", "pending", "ready"]
    assert queued(local) == 2
    assert history(local, numbered(1))[-2:] == ["deleted", "restored"]


def test_a_deletion_that_glance_announced_is_for_ever(local: Database) -> None:
    glance = SimulatedGlance()
    known(local, glance, 1)
    observe(local, observation(image_id=numbered(0), status="deleted", deleted=True, updated_at=LATER))

    assert reconcile(local, glance)["restored"] == 0

    assert statuses(local, 1) == ["deleted"]


def _queue_entry_gone(session: Session) -> None:
    session.execute(delete(QueueEntry))


def _called_computing(session: Session) -> None:
    session.execute(update(Manifest).values(status="computing"))


def _deleted_by_half(session: Session) -> None:
    session.execute(update(Image).values(deleted_at=NOON, status="deleted"))


def _final_with_an_entry(session: Session) -> None:
    session.execute(update(Manifest).values(status="failed", code="time-limit"))


def _row_says_something_else(session: Session) -> None:
    session.execute(update(Image).values(status="ready"))


def _serves_what_is_not_there(session: Session) -> None:
    session.execute(update(Image).values(current_revision=9))


@pytest.mark.parametrize(
    ("damage", "status", "entries"),
    [
        (_queue_entry_gone, "pending", 1),
        (_called_computing, "pending", 1),
        (_deleted_by_half, "deleted", 0),
        (_final_with_an_entry, "failed", 0),
        (_row_says_something_else, "pending", 1),
        (_serves_what_is_not_there, "pending", 1),
    ],
)
def test_what_is_stuck_is_freed_and_told(database: Database, damage: Any, status: str, entries: int) -> None:
    observe(database, observation())
    database.transaction(damage)

    assert reconcile(database, None)["repaired"] > 0

    record = current(database)
    assert record is not None
    assert record.status == status
    assert queued(database) == entries
    assert set(history(database)) == {"uploaded", "repaired"}
    assert reconcile(database, None)["repaired"] == 0
    if entries:
        assert claimed(database).attempt == 1
