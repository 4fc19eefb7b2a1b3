"""How the service stands, and what is wrong with it, on each kind of database."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.manifests import history, processes
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.processes import ProcessRecord
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import Progress
from manifest_service.manifests.work_models import Duty, Process, QueueEntry
from manifest_service.processing import overview, queue
from manifest_service.processing.diagnosis import Expectations, Problem, Severity, diagnose
from manifest_service.processing.overview import Overview
from tests.builders import IMAGE_ID, LEASE, claimed, finish, new_key, observation, observe

OTHER_ID = "11111111-1111-4111-8111-111111111111"
WELL: dict[str, dict[str, Any]] = {
    "listener": {"listening": True, "broker": "ok"},
    "worker": {"workers": 2, "signing_key": "ab"},
}


def look(database: Database) -> Overview:
    return database.transaction(overview.read)


def problems(database: Database, **expected: Any) -> dict[str, Problem]:
    found = diagnose(look(database), Expectations(**expected))
    return {problem.code: problem for problem in found}


def appear(database: Database, parts: dict[str, dict[str, Any]], name: str = "p1") -> None:
    process = ProcessRecord(name, "serve", "host", 1, "0.1.0", parts)
    database.transaction(lambda session: processes.renew(session, process))


def age(database: Database, table: type[Process | QueueEntry | Duty], column: str, by: timedelta) -> None:
    """Let a row look older than it is."""

    def write(session: Session) -> None:
        session.execute(update(table).values({column: database_now(session) - by}))

    database.transaction(write)


def test_the_queue_and_who_is_at_it(database: Database) -> None:
    observe(database, observation(), observation(image_id=OTHER_ID, name="q2"))
    task = claimed(database)
    database.transaction(lambda session: queue.renew(session, task, LEASE, Progress(5, 10)))

    seen = look(database)

    assert (seen.queue.due, seen.queue.delayed, seen.queue.computing, seen.queue.length) == (1, 0, 1, 2)
    assert seen.queue.oldest_waiting is not None
    assert {seen.queue.oldest_waiting.image_id, task.image_id} == {IMAGE_ID, OTHER_ID}
    (at_it,) = seen.under_way
    assert (at_it.worker, at_it.image_id, at_it.done, at_it.total, at_it.attempt) == ("w1", task.image_id, 5, 10, 1)
    assert timedelta(0) <= seen.at - at_it.since < timedelta(minutes=5)


def test_failures_are_counted_by_code_as_long_as_they_are(database: Database) -> None:
    observe(database, observation())
    error = ComputationFailed(FailureCode.SOURCE_MISMATCH, "other bytes", retriable=False)
    task = claimed(database)
    database.transaction(lambda session: queue.finish_without(session, task, error))

    (failure,) = look(database).failures
    (event,) = look(database).last_failures

    assert (failure.status, failure.code, failure.images) == ("failed", "source-mismatch", 1)
    assert (event.image_id, event.code) == (IMAGE_ID, "source-mismatch")
    assert problems(database)["source-mismatch"].severity is Severity.PROBLEM
    assert problems(database)["images-failed"].severity is Severity.NOTICE


def test_a_whole_service_has_no_problem(local: Database) -> None:
    appear(local, WELL)

    assert problems(local) == {}


def test_what_is_missing_is_told(local: Database) -> None:
    assert set(problems(local)) == {"no-worker", "no-listener"}
    assert set(problems(local, listeners=False)) == {"no-worker"}

    appear(local, {**WELL, "listener": {"listening": True, "broker": "away"}})
    assert set(problems(local)) == {"broker-away"}


@pytest.mark.parametrize(
    ("images", "told"), [(1, "no worker runs; 1 image waits"), (2, "no worker runs; 2 images wait")]
)
def test_what_is_counted_is_told_in_its_number(images: int, told: str, local: Database) -> None:
    observe(local, *(observation(image_id=f"{number:08}-1111-4111-8111-111111111111") for number in range(images)))

    assert problems(local)["no-worker"].told == told


def test_one_of_a_thing_is_not_told_as_several(local: Database) -> None:
    appear(local, {"listener": {"listening": True, "broker": "away"}})
    age(local, Process, "seen_at", processes.SILENCE * 2)
    observe(local, observation())
    local.transaction(
        lambda session: history.add_event(session, None, EventKind.SOURCE_CHANGED, database_now(session), {})
    )
    several = re.compile(r"\b1 (images|processes|listeners|times|minutes|attempts|files)\b")

    assert [problem.told for problem in problems(local).values() if several.search(problem.told)] == []


def test_a_process_that_falls_silent_is_dead_and_later_forgotten(database: Database) -> None:
    appear(database, WELL)
    age(database, Process, "seen_at", processes.SILENCE * 2)

    assert set(problems(database)) == {"no-worker", "no-listener", "process-silent"}
    assert [process.lives for process in look(database).processes] == [False]

    age(database, Process, "seen_at", processes.FORGOTTEN * 2)
    appear(database, WELL, "p2")
    assert [process.id for process in look(database).processes] == ["p2"]
    database.transaction(lambda session: processes.withdraw(session, "p2"))
    assert look(database).processes == []


def test_an_entry_that_waits_too_long_is_a_problem(local: Database) -> None:
    appear(local, WELL)
    observe(local, observation())
    age(local, QueueEntry, "enqueued_at", timedelta(hours=2))

    assert IMAGE_ID in problems(local)["queue-old"].told

    claimed(local)
    assert problems(local) == {}


def test_a_worker_without_a_key_is_a_problem_once_something_is_signed(local: Database) -> None:
    unsigned: dict[str, dict[str, Any]] = {**WELL, "worker": {"workers": 1, "signing_key": None}}
    appear(local, unsigned)
    assert problems(local) == {}

    observe(local, observation())
    finish(local, claimed(local), signer=new_key())

    assert set(problems(local)) == {"worker-without-key"}


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"failed_runs": 3, "outcome": {"code": "glance-away"}}, "duty-failing"),
        ({"state": {"held_back": "not-admin"}}, "deletions-held-back"),
        ({}, "duty-late"),
    ],
)
def test_a_duty_that_does_not_go_well_is_a_problem(local: Database, columns: dict[str, object], code: str) -> None:
    appear(local, WELL)
    row = {"state": {}, "outcome": {}, "failed_runs": 0, "holder": "host:1", **columns}

    def write(session: Session) -> None:
        session.add(Duty(name="reconcile", ended_at=database_now(session), **row))

    local.transaction(write)
    if code == "duty-late":
        assert problems(local, intervals={"reconcile": 3600.0}) == {}
        age(local, Duty, "ended_at", timedelta(hours=3))

    assert set(problems(local, intervals={"reconcile": 3600.0})) == {code}


@pytest.mark.parametrize("kind", [EventKind.SOURCE_CHANGED, EventKind.IMMUTABILITY_VIOLATION])
def test_a_finding_is_a_problem_for_a_day(local: Database, kind: EventKind) -> None:
    appear(local, WELL)
    for days in (0, 2):

        def write(session: Session, days: int = days) -> None:
            at = database_now(session) - timedelta(days=days)
            history.add_event(session, IMAGE_ID, kind, at, {"place": "store"})

        local.transaction(write)

    (finding,) = [finding for finding in look(local).findings if finding.kind == kind]
    assert (finding.total, finding.recent) == (2, 1)
    assert set(problems(local)) == {f"{kind}-found"}
