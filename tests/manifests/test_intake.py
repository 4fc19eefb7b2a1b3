"""What a set of observations amounts to, in whatever order and however often each arrives."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copyfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.manifests import intake, ordering, schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Event, Image, Manifest
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ImageObservation
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing import queue
from tests.builders import IMAGE_ID, NOON, claimed, computed, current, finish, history, observation, observe, queued

SECOND = timedelta(seconds=1)

UPLOAD_LIFE = [
    observation(status="queued", size=None, checksums={}),
    observation(status="saving", size=None, checksums={}, observed_at=NOON + SECOND / 4),
    observation(status="active", observed_at=NOON + SECOND / 2),
    observation(status="active", updated_at=NOON + SECOND, observed_at=NOON + SECOND, name="renamed"),
    observation(status="deactivated", updated_at=NOON + 2 * SECOND, observed_at=NOON + 2 * SECOND, name="renamed"),
]
DELETION = observation(status="deleted", deleted=True, updated_at=NOON + 3 * SECOND, observed_at=NOON + 3 * SECOND)


def state(database: Database) -> tuple[object, ...]:
    """All that is kept of the image, apart from when it was written."""

    def read(session: object) -> tuple[object, ...]:
        image = session.scalars(select(Image)).one()  # type: ignore[attr-defined]
        manifests = session.scalars(select(Manifest).order_by(Manifest.revision)).all()  # type: ignore[attr-defined]
        entries = session.scalar(select(func.count()).select_from(QueueEntry))  # type: ignore[attr-defined]
        served = next((row.status for row in manifests if row.revision == image.current_revision), None)
        assert image.status == (Status.DELETED if image.deleted_at else served)
        return (
            image.name,
            image.glance_status,
            image.size,
            image.checksums,
            image.current_revision,
            image.deleted_at,
            [(row.revision, row.status, row.expected_size, row.expected_checksums) for row in manifests],
            entries,
        )

    return database.transaction(read)


def test_an_active_image_gets_one_pending_manifest(database: Database) -> None:
    observe(database, *UPLOAD_LIFE, *UPLOAD_LIFE)

    record = current(database)

    assert record is not None
    assert (record.status, record.revision, record.name) == ("pending", 1, "renamed")
    assert queued(database) == 1
    assert history(database) == ["uploaded"]


def test_nothing_is_asked_for_before_the_data_is_there(database: Database) -> None:
    observe(database, *UPLOAD_LIFE[:2], observation(status="importing", observed_at=NOON + SECOND / 3))

    assert current(database) is None
    assert queued(database) == 0


def test_a_deletion_is_for_ever_and_empties_the_queue(database: Database) -> None:
    observe(database, *UPLOAD_LIFE, DELETION, *UPLOAD_LIFE)

    record = current(database)

    assert record is not None
    assert record.status == "deleted"
    assert queued(database) == 0
    assert history(database) == ["uploaded", "deleted"]


def test_an_image_that_is_deleted_before_its_upload_is_known_gets_no_manifest(database: Database) -> None:
    observe(database, DELETION, UPLOAD_LIFE[2])

    assert current(database) is None
    assert queued(database) == 0


@pytest.mark.slow
@pytest.mark.parametrize("life", [UPLOAD_LIFE, [*UPLOAD_LIFE[1:4], DELETION]], ids=["kept", "deleted"])
def test_every_order_ends_in_the_same_state(
    life: list[ImageObservation], tmp_path_factory: pytest.TempPathFactory, migrated_file: Path
) -> None:
    states = set()
    for order in itertools.permutations(life):
        path = tmp_path_factory.mktemp("order") / "db.sqlite"
        database = Database(f"sqlite:///{copyfile(migrated_file, path)}")
        observe(database, *order)
        kept = list(state(database))
        if life[-1] is DELETION:
            kept[4:7] = kept[5:6]  # a manifest that nobody can get any more may or may not have been begun
        states.add(repr(kept))
        database.close()

    assert len(states) == 1


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(picks=st.lists(st.sampled_from(UPLOAD_LIFE), min_size=1, max_size=12), data=st.data())
def test_repeats_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_file: Path,
    picks: list[ImageObservation],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("often")
    once, often = (Database(f"sqlite:///{copyfile(migrated_file, folder / name)}") for name in "ab")
    different = list(dict.fromkeys(map(UPLOAD_LIFE.index, picks)))
    observe(once, *(UPLOAD_LIFE[index] for index in different))
    observe(often, *data.draw(st.permutations(picks)))

    assert state(once) == state(often)
    once.close()
    often.close()


OTHER_DATA = observation(size=7, checksums={"md5": "0" * 32}, updated_at=NOON + SECOND, observed_at=NOON + SECOND)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(picks=st.lists(st.sampled_from([*UPLOAD_LIFE, OTHER_DATA, DELETION]), min_size=1, max_size=8), data=st.data())
def test_observations_that_are_taken_in_together_end_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, picks: list[ImageObservation], data: st.DataObject
) -> None:
    single, together = (Database(f"sqlite:///{tmp_path_factory.mktemp('both')}/{name}.sqlite") for name in "ab")
    for database in (single, together):
        schema.upgrade(database)
    cut = data.draw(st.integers(0, len(picks)))
    observe(single, *picks)
    for part in (picks[:cut], picks[cut:]):
        together.transaction(lambda session: intake.observe_all(session, part))  # noqa: B023
    assert state(single) == state(together)
    assert history(single) == history(together)
    single.close()
    together.close()


def test_many_images_are_taken_in_together(database: Database) -> None:
    images = [f"{number:08d}-1111-4111-8111-111111111111" for number in range(20)]
    lives = [replace(seen, image_id=image_id) for seen in UPLOAD_LIFE for image_id in reversed(images)]

    database.transaction(lambda session: intake.observe_all(session, lives))

    assert {claimed(database).image_id for _ in images} == set(images)
    assert [current(database, image_id).name for image_id in images] == ["renamed"] * 20  # type: ignore[union-attr]


def test_many_listeners_at_once_make_one_manifest(database: Database) -> None:
    with ThreadPoolExecutor(8) as listeners:
        list(listeners.map(lambda seen: observe(database, seen), UPLOAD_LIFE * 6))

    record = current(database)
    assert record is not None
    assert (record.revision, record.name) == (1, "renamed")
    assert queued(database) == 1
    assert history(database) == ["uploaded"]


def test_a_checksum_that_comes_later_is_expected_of_a_manifest_not_computed_yet(database: Database) -> None:
    observe(database, observation(checksums={}), observation(observed_at=NOON + SECOND))

    assert claimed(database).expected_checksums == {"md5": "d077c61681203ae001b4ebc4ddd38a4e"}


def test_other_data_under_the_same_id_gets_a_new_revision(database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database))
    observe(database, observation(checksums={"md5": "0" * 32}, updated_at=NOON + SECOND))

    record = current(database)

    assert record is not None
    assert (record.revision, record.status) == (2, "pending")
    assert history(database)[-2:] == ["re-uploaded", "immutability-violation"]


def test_data_that_changes_while_it_is_computed_is_computed_again(database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    observe(database, observation(checksums={"md5": "0" * 32}, updated_at=NOON + SECOND))

    assert not finish(database, task)

    again = claimed(database)
    assert again.expected_checksums == {"md5": "0" * 32}
    assert finish(database, again, computed(source_checksums={"md5": "0" * 32}))


def test_a_computation_on_request_makes_a_revision_and_serves_the_old_one_until_it_is_ready(database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database))

    for _ in range(2):  # the second finds the first one waiting
        database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))

    before = current(database)
    assert before is not None
    assert (before.revision, before.status) == (1, "ready")
    finish(database, claimed(database))
    after = current(database)
    assert after is not None
    assert (after.revision, after.status) == (2, "ready")
    assert queued(database) == 0


def test_a_computation_on_request_takes_the_place_of_a_failed_one(database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    error = ComputationFailed(FailureCode.SOURCE_NOT_FOUND, "no store holds it", retriable=True)
    database.transaction(lambda session: queue.finish_without(session, task, error))

    database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))

    record = current(database)
    assert record is not None
    assert (record.revision, record.status) == (2, "pending")


def test_a_computation_on_request_needs_an_image_that_is_there(database: Database) -> None:
    with pytest.raises(intake.ImageUnknown, match="has been seen"):
        database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))
    observe(database, observation(), DELETION)
    with pytest.raises(intake.ImageDeleted, match="was deleted"):
        database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))


def test_a_rejected_upload_is_recorded_once_and_cut(database: Database) -> None:
    for message_id in ("m1", "m1", "m2", None):
        database.transaction(
            lambda session: intake.record_rejected_upload(session, "no space left " * 1000, message_id)  # noqa: B023
        )

    events = database.transaction(lambda session: session.scalars(select(Event)).all())
    assert [event.kind for event in events] == ["upload-rejected"] * 3
    assert {len(event.detail["message"]) for event in events} == {1000}


def test_a_checksum_that_comes_while_it_is_computed_does_not_have_it_computed_twice(database: Database) -> None:
    observe(database, observation(checksums={}))
    task = claimed(database)
    observe(database, observation(observed_at=NOON + SECOND))

    assert finish(database, task)

    assert history(database) == ["uploaded", "computation-started", "ready"]
    manifest = database.transaction(lambda session: session.scalars(select(Manifest)).one())
    assert manifest.expected_checksums == {"md5": "d077c61681203ae001b4ebc4ddd38a4e"}


def test_a_rejected_upload_is_told_of_the_image_that_its_sentence_names(local: Database) -> None:
    observe(local, observation(status="queued", size=None, checksums={}))
    other = "11111111-1111-4111-8111-111111111111"
    for sentence in (
        f"Failed to upload image data for image {IMAGE_ID} due to internal error",
        f"Neither image {IMAGE_ID} nor image {other}",
        "Image storage media is full",
    ):
        local.transaction(lambda session: intake.record_rejected_upload(session, sentence, None))  # noqa: B023

    assert history(local) == ["upload-rejected"]


FAR = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("times", [{"updated_at": FAR}, {"observed_at": FAR}], ids=str)
def test_a_time_that_lies_ahead_gives_way_to_the_next_that_can_be(times: dict[str, datetime], local: Database) -> None:
    observe(local, observation(owner="p1"), observation(owner="forged", visibility="public", **times))

    observe(local, observation(owner="p1", observed_at=NOON + SECOND))

    assert current(local).owner == "p1"  # type: ignore[union-attr]
    observe(local, observation(owner="older", observed_at=NOON - SECOND))
    assert current(local).owner == "p1"  # type: ignore[union-attr]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_times_that_lie_ahead_are_ordered_among_themselves(order: tuple[int, ...], local: Database) -> None:
    """As all are for a database whose clock is set back: nothing that is said is turned away."""
    observe(local, observation())

    observe(local, *(observation(name=str(number), updated_at=FAR + number * SECOND) for number in order))

    assert current(local).name == "2"  # type: ignore[union-attr]


def test_a_clock_that_is_a_little_ahead_is_believed(database: Database) -> None:
    ahead = datetime.now(UTC) + ordering.CLOCKS_APART / 2
    observe(database, observation(name="newest", updated_at=ahead, observed_at=ahead), observation())

    assert current(database).name == "newest"  # type: ignore[union-attr]


def test_an_image_is_not_deleted_at_a_time_that_lies_ahead(local: Database) -> None:
    before = datetime.now(UTC)
    observe(local, observation(), replace(DELETION, deleted_at=FAR))

    deleted_at = current(local).deleted_at  # type: ignore[union-attr]
    assert deleted_at is not None
    assert before - SECOND <= deleted_at <= datetime.now(UTC) + SECOND
