"""Who does a duty, how often, and who goes on when he dies; on each kind of database."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from manifest_service.errors import ManifestServiceError
from manifest_service.manifests.database import Database
from manifest_service.manifests.work_models import Duty
from manifest_service.processing import duties
from manifest_service.processing.duties import Claim, DutyLost, DutyRecord, KeptDuty, Terms, run_once
from manifest_service.processing.duty_threads import DutyThreads, Scheduled
from manifest_service.processing.lease import StopAsked
from tests.processing.running_duties import TERMS, run
from tests.waiting import eventually

HOUR = timedelta(hours=1)
NO_TIME = timedelta(0)


class Chore:
    """Work that a test says."""

    name = "chore"

    def __init__(self, work: Callable[[KeptDuty], Mapping[str, Any] | None] = lambda kept: None) -> None:
        self._work = work
        self.runs = 0

    def run(self, kept: KeptDuty) -> Mapping[str, Any]:
        self.runs += 1
        return self._work(kept) or {}


def claim(database: Database, lease: timedelta = HOUR, interval: timedelta = HOUR, holder: str = "h1") -> Claim | None:
    return database.transaction(lambda session: duties.claim(session, "chore", holder, lease, interval))


def standing(database: Database) -> DutyRecord:
    (record,) = database.transaction(duties.list_duties)
    return record


def test_of_many_who_ask_at_once_one_gets_it(database: Database) -> None:
    with ThreadPoolExecutor(8) as processes:
        claims = list(processes.map(lambda number: claim(database, holder=f"h{number}"), range(8)))

    assert len([each for each in claims if each is not None]) == 1
    assert standing(database).is_held


def test_it_is_due_again_an_interval_after_its_end(database: Database) -> None:
    assert run(database, Chore(lambda kept: {"done": 3})) == {"done": 3}

    assert claim(database) is None
    assert claim(database, interval=NO_TIME) is not None
    assert (standing(database).holder, standing(database).outcome) == ("h1", {"done": 3})


def test_a_lease_that_ran_out_goes_to_another_who_goes_on_from_what_was_kept(database: Database) -> None:
    first = claim(database, lease=NO_TIME)
    assert first is not None
    database.transaction(lambda session: duties.renew(session, first, NO_TIME, {"page": 7}))

    second = claim(database, holder="h2")

    assert second is not None
    assert second.state == {"page": 7}
    for late in (
        lambda session: duties.renew(session, first, HOUR),
        lambda session: duties.finish(session, first, {}, failed=False),
        lambda session: duties.give_back(session, first),
    ):
        with pytest.raises(DutyLost):
            database.transaction(late)


def test_a_run_that_failed_is_tried_again_sooner_and_later_each_time(local: Database) -> None:
    def fail(kept: KeptDuty) -> None:
        raise ManifestServiceError("glance-away", "it does not answer")

    failed = run_once(local, Chore(fail), TERMS, threading.Event())

    assert failed is not None
    assert failed.error is not None
    assert standing(local).outcome == {"code": "glance-away", "reason": "it does not answer"}
    assert standing(local).failed_runs == 1
    assert claim(local, interval=timedelta(seconds=20)) is None
    assert claim(local, interval=NO_TIME) is not None


def test_a_defect_is_told_as_one(local: Database) -> None:
    done = run_once(local, Chore(lambda kept: 1 / 0), TERMS, threading.Event())  # type: ignore[arg-type,return-value]

    assert done is not None
    assert done.outcome == {"code": "internal-error", "reason": "ZeroDivisionError"}


def test_a_stop_gives_it_back_for_another_to_go_on_at_once(local: Database) -> None:
    stop = threading.Event()

    def work(kept: KeptDuty) -> None:
        kept.save({"page": 3})
        stop.set()
        kept.check()

    with pytest.raises(StopAsked):
        run_once(local, Chore(work), TERMS, stop)

    again = claim(local)
    assert again is not None
    assert again.state == {"page": 3}


def test_the_lease_is_renewed_while_it_takes_its_time(local: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "RENEWALS_PER_LEASE", 100_000)

    def held_until() -> datetime:
        until = local.transaction(lambda session: session.scalars(select(Duty.lease_until)).one())
        assert until is not None
        return until

    def work(kept: KeptDuty) -> None:
        begun = held_until()
        eventually(lambda: held_until() > begun)
        assert claim(local) is None
        kept.check()

    done = run_once(local, Chore(work), Terms("h1", HOUR), threading.Event())

    assert done is not None
    assert done.error is None


def test_threads_of_several_processes_do_it_once_an_interval(local: Database) -> None:
    chores = [Chore(), Chore(), Chore()]
    processes = [DutyThreads(local, [Scheduled(chore, 3600)], Terms(f"h{n}", HOUR)) for n, chore in enumerate(chores)]
    for process in processes:
        process.start()

    eventually(lambda: sum(chore.runs for chore in chores) == 1)

    for process in processes:
        process.stop()
    assert sum(chore.runs for chore in chores) == 1


def test_threads_go_on_after_what_nobody_expected(local: Database) -> None:
    chore = Chore(lambda kept: 1 / 0)  # type: ignore[arg-type,return-value]
    threads = DutyThreads(local, [Scheduled(chore, 0.05)], TERMS)
    threads.start()

    eventually(lambda: chore.runs > 1)

    threads.stop()
    eventually(lambda: not standing(local).is_held)
