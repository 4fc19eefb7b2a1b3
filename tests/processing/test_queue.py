"""Who may hold an entry, for how long, and what comes of it; on each kind of database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, RefusalCode
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import Progress
from manifest_service.processing import queue
from tests.builders import IMAGE_ID, LEASE, claim, claimed, current, finish, history, observation, observe, queued

NO_TIME = timedelta(0)


def test_an_empty_queue_gives_nothing(database: Database) -> None:
    assert claim(database) is None


def test_a_claimed_entry_is_not_given_to_others(database: Database) -> None:
    observe(database, observation())

    task = claimed(database)

    assert claim(database, "w2") is None
    assert (task.attempt, task.disk_format, task.expected_size) == (1, "qcow2", 2949120)
    record = current(database)
    assert record is not None
    assert record.status == "computing"


@pytest.mark.slow
def test_many_workers_share_the_queue_without_taking_an_entry_twice(database: Database) -> None:
    images = [str(uuid4()) for _ in range(24)]
    observe(database, *(observation(image_id=image_id) for image_id in images))

    def drain(worker: int) -> list[str]:
        taken = []
        misses = 0
        while misses < 3:
            task = claim(database, f"w{worker}")
            if task is None:
                misses += 1
                continue
            taken.append(task.image_id)
            assert finish(database, task)
        return taken

    with ThreadPoolExecutor(4) as workers:
        taken = [image_id for share in workers.map(drain, range(4)) for image_id in share]

    assert sorted(taken) == sorted(images)
    assert queued(database) == 0


def test_a_lease_that_ran_out_goes_to_another_and_the_first_can_write_nothing(database: Database) -> None:
    observe(database, observation())
    first = claim(database, lease=NO_TIME)
    assert first is not None

    second = claimed(database)

    assert second.attempt == 2
    for late in (
        lambda session: queue.renew(session, first, LEASE, Progress(1, 2)),
        lambda session: queue.finish_without(session, first, ImageRefused(RefusalCode.ENCRYPTED, "it is")),
        lambda session: queue.retry_later(session, first, ImageRefused(RefusalCode.ENCRYPTED, "it is"), LEASE),
        lambda session: queue.give_back(session, first),
    ):
        with pytest.raises(queue.LeaseLost):
            database.transaction(late)
    with pytest.raises(queue.LeaseLost):
        finish(database, first)
    assert finish(database, second)
    assert history(database) == ["uploaded", "computation-started", "computation-started", "ready"]


def test_a_renewed_lease_holds_and_shows_progress(database: Database) -> None:
    observe(database, observation())
    task = claim(database, lease=NO_TIME)
    assert task is not None

    database.transaction(lambda session: queue.renew(session, task, LEASE, Progress(512, 1024)))

    assert claim(database, "w2") is None
    record = current(database)
    assert record is not None
    assert record.progress == Progress(512, 1024)


def test_an_entry_that_takes_every_worker_with_it_fails_in_the_end(database: Database) -> None:
    observe(database, observation())
    for attempt in (1, 2, 3):
        task = claim(database, lease=NO_TIME, max_attempts=3)
        assert task is not None
        assert task.attempt == attempt

    assert claim(database, max_attempts=3) is None

    record = current(database)
    assert record is not None
    assert (record.status, record.code) == ("failed", "worker-lost")
    assert queued(database) == 0


def test_a_failed_attempt_waits_longer_each_time(database: Database) -> None:
    observe(database, observation())
    error = ComputationFailed(FailureCode.SOURCE_NOT_FOUND, "no store holds it", retriable=True)

    task = claimed(database)
    database.transaction(lambda session: queue.retry_later(session, task, error, NO_TIME))
    again = claimed(database)
    database.transaction(lambda session: queue.retry_later(session, again, error, timedelta(hours=2)))

    assert again.attempt == 2
    assert claim(database) is None
    record = current(database)
    assert record is not None
    assert (record.status, record.code) == ("pending", "source-not-found")


def test_an_entry_given_back_is_due_at_once_and_the_attempt_not_counted(database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    database.transaction(lambda session: queue.give_back(session, task))

    assert claimed(database).attempt == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageRefused(RefusalCode.BACKING_FILE, "it names one"), "refused"),
        (ComputationFailed(FailureCode.SOURCE_MISMATCH, "other bytes", retriable=False), "failed"),
    ],
)
def test_an_image_without_a_manifest_says_why(
    database: Database, error: ImageRefused | ComputationFailed, status: str
) -> None:
    observe(database, observation())
    task = claimed(database)
    database.transaction(lambda session: queue.finish_without(session, task, error))

    record = current(database)

    assert record is not None
    assert (record.status, record.code, record.reason) == (status, error.code, error.reason)
    assert claim(database) is None


def test_a_deletion_takes_the_entry_from_its_worker(database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    observe(database, observation(status="deleted", deleted=True))

    with pytest.raises(queue.LeaseLost):
        finish(database, task)
    record = current(database)
    assert record is not None
    assert (record.status, record.image_id) == ("deleted", IMAGE_ID)
