"""Walking Glance's list: what was missed is taken in once, and what is known is left alone."""

import threading
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from sqlalchemy import select, update

from manifest_service.errors import DownloadFailed
from manifest_service.images.glance_list import Cursor, ListFilter
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Image
from manifest_service.processing.backfill import Backfill, Tally, Walk
from manifest_service.processing.lease import StopAsked
from tests.builders import IMAGE_ID, NOON, claimed, current, finish, history, observation, observe, queued
from tests.processing.running_duties import run
from tests.processing.simulated_glance import SimulatedGlance, numbered, record

EVERYTHING = ListFilter()


def backfill(database: Database, glance: SimulatedGlance, *, resume: bool = True) -> Backfill:
    return Backfill(lambda kept: Walk(database, glance, kept.wait), EVERYTHING, resume=resume)


def walk(database: Database, glance: SimulatedGlance, *, dry_run: bool = False) -> Tally:
    tally = Tally()
    for page in Walk(database, glance, lambda _: None, dry_run=dry_run).pages(Cursor(), EVERYTHING):
        tally.add(page.tally)
    return tally


def test_images_from_before_are_queued_hidden_ones_too(database: Database) -> None:
    glance = SimulatedGlance(hidden={numbered(4)})
    glance.add(*(record(numbered(number)) for number in range(5)))

    tally = walk(database, glance)

    assert (tally.seen, tally.new) == (5, 5)
    assert queued(database) == 5
    assert history(database, numbered(4)) == ["uploaded"]


def test_what_is_known_is_not_written_again(database: Database) -> None:
    glance = SimulatedGlance()
    glance.add(record(IMAGE_ID))
    walk(database, glance)
    finish(database, claimed(database))
    database.transaction(lambda session: session.execute(update(Image).values(changed_at=NOON)))

    tally = walk(database, glance)

    assert (tally.new, tally.changed, tally.unchanged) == (0, 0, 1)
    assert current(database).changed_at == NOON  # type: ignore[union-attr]
    assert history(database) == ["uploaded", "computation-started", "ready"]


def test_a_checksum_that_no_notification_has_is_noted_without_computing_anew(local: Database) -> None:
    observe(local, observation(owner="p1"))
    task = claimed(local)
    glance = SimulatedGlance()
    glance.add(record(IMAGE_ID, checksums={"md5": task.expected_checksums["md5"], "sha512": "ab" * 64}))

    assert walk(local, glance).changed == 1

    assert finish(local, task)
    checksums = local.transaction(lambda session: session.scalars(select(Image.checksums)).one())
    assert checksums["sha512"] == "ab" * 64
    assert walk(local, glance).unchanged == 1


def test_a_list_does_not_undo_what_was_said_later(local: Database) -> None:
    glance = SimulatedGlance()
    glance.add(record(IMAGE_ID, name="before"))
    observe(local, observation(name="after", updated_at=NOON + timedelta(seconds=1)))

    assert walk(local, glance).unchanged == 1

    assert current(local).name == "after"  # type: ignore[union-attr]


def test_an_image_that_was_deleted_meanwhile_stays_so(local: Database) -> None:
    glance = SimulatedGlance()
    glance.add(record(IMAGE_ID))
    observe(local, observation(), observation(status="deleted", deleted=True, updated_at=NOON + timedelta(seconds=1)))

    assert walk(local, glance).skipped == {"deleted-here": 1}

    assert current(local).status == "deleted"  # type: ignore[union-attr]


def test_images_without_data_and_records_that_are_none_are_passed_over(local: Database) -> None:
    glance = SimulatedGlance()
    glance.add(
        record(numbered(0), status="queued"),
        record(numbered(1), status="importing"),
        record(IMAGE_ID.upper()),
        record("no-uuid"),
        record(numbered(2), size=2**63),
        record(numbered(3), status=None),
        record(numbered(4), name="a\x00b\ud800"),
    )

    tally = walk(local, glance)

    assert tally.skipped == {"without-data (queued)": 1, "without-data (importing)": 1, "unreadable": 4}
    assert tally.new == 1
    assert current(local, numbered(4)).name == "a\ufffdb\ufffd"  # type: ignore[union-attr]


def test_a_dry_run_takes_nothing_in(local: Database) -> None:
    glance = SimulatedGlance()
    glance.add(record(IMAGE_ID))

    assert walk(local, glance, dry_run=True).new == 1

    assert queued(local) == 0


def test_a_walk_that_broke_off_goes_on_where_it_was(local: Database) -> None:
    glance = SimulatedGlance(pages_until_away=2)
    glance.add(*(record(str(UUID(int=number))) for number in range(7)))
    with pytest.raises(DownloadFailed):
        run(local, backfill(local, glance))
    glance.pages_until_away = 1000

    rest = backfill(local, glance)
    run(local, rest)

    assert rest.resumed
    assert rest.tally.seen == 3
    assert queued(local) == 7
    anew = backfill(local, glance)
    assert run(local, anew)["unchanged"] == 7
    assert not anew.resumed


def test_a_walk_that_was_stopped_is_begun_anew_on_request(local: Database) -> None:
    glance, stop = SimulatedGlance(), threading.Event()
    glance.add(*(record(numbered(number)) for number in range(5)))
    stopped = backfill(local, glance)
    stopped.on_page = lambda _: stop.set()
    with pytest.raises(StopAsked):
        run(local, stopped, stop)

    anew = backfill(local, glance, resume=False)
    run(local, anew)

    assert not anew.resumed
    assert (anew.tally.new, anew.tally.unchanged) == (3, 2)


def test_the_rate_is_kept(local: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manifest_service.processing.backfill.time", SimpleNamespace(monotonic=lambda: 7.0))
    glance, waits = SimulatedGlance(), list[float]()
    glance.add(*(record(numbered(number)) for number in range(4)))

    for _ in Walk(local, glance, waits.append, rate=4).pages(Cursor(), EVERYTHING):
        pass

    assert waits[0] == 0.5
