"""Verifications in the database: many nodes at once, and a database from before there were any."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from manifest_service.manifests import verifications
from manifest_service.manifests.database import Database
from manifest_service.manifests.verifications import VerificationFilter, VerificationRecord, VerificationReport
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.verdicts import Verdict
from tests.builders import IMAGE_ID, NOON, history, observation, observe

HOUR = timedelta(hours=1)


def reported(hours: int, file: str = "/base/1", verdict: Verdict = Verdict.MATCH) -> VerificationReport:
    """A report on a file that was checked so many hours after noon."""
    return VerificationReport(str(uuid4()), file, verdict, "why", NOON + hours * HOUR, image_id=IMAGE_ID)


def record(database: Database, *reports: VerificationReport, node: str = "n1") -> int:
    return database.transaction(lambda session: verifications.record(session, node, reports))


def latest(database: Database, node: str = "n1") -> list[VerificationRecord]:
    wanted = VerificationFilter(node=node, latest=True)
    return database.transaction(lambda session: verifications.list_page(session, EVERYTHING, wanted, 100, None))


def test_reports_of_one_file_that_arrive_at_once_leave_one_latest(database: Database) -> None:
    observe(database, observation())
    reports = [reported(hours, verdict=Verdict.CORRUPT) for hours in range(24)]

    with ThreadPoolExecutor(8) as senders:
        recorded = list(senders.map(lambda report: record(database, report), [*reports, *reports]))

    assert sum(recorded) == 24
    assert [each.report for each in latest(database)] == [reports[-1]]
    assert Counter(history(database))["verified"] == 1


def test_batches_that_cross_each_other_all_arrive(database: Database) -> None:
    files = [f"/base/{number}" for number in range(20)]
    forwards = [[reported(hours, file) for file in files] for hours in range(4)]
    backwards = [[reported(hours, file) for file in files[::-1]] for hours in range(4, 8)]

    with ThreadPoolExecutor(8) as senders:
        recorded = list(senders.map(lambda reports: record(database, *reports), forwards + backwards))

    assert recorded == [20] * 8
    assert {each.report for each in latest(database)} == set(backwards[-1])


def test_a_node_whose_clock_is_ahead_does_not_keep_its_verdict_for_ever(database: Database) -> None:
    ahead = replace(reported(0, verdict=Verdict.CORRUPT), checked_at=datetime.now(UTC) + timedelta(days=400))

    record(database, ahead)
    record(database, replace(reported(1), checked_at=datetime.now(UTC) + timedelta(days=300)))

    (found,) = latest(database)
    assert found.report.verdict is Verdict.MATCH
    assert found.report.checked_at <= datetime.now(UTC) + timedelta(minutes=1)
