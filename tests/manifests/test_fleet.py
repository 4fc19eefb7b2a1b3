"""The fleet on each database: which nodes come first, and that no page misses a row."""

from uuid import uuid4

import pytest

from manifest_service.manifests import fleet, verifications
from manifest_service.manifests.database import Database
from manifest_service.manifests.fleet import FileFilter, NodeMarker, NodeSummary
from manifest_service.manifests.verifications import UnknownMarker, VerificationReport
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.verdicts import Verdict
from tests.builders import IMAGE_ID, NOON

NODES = {
    "b": (Verdict.MATCH, Verdict.CORRUPT),
    "a": (Verdict.UNKNOWN, Verdict.CORRUPT, Verdict.UNKNOWN),
    "d": (Verdict.UNKNOWN,),
    "C": (Verdict.UNKNOWN, Verdict.MATCH),
    "e": (Verdict.MATCH,),
    "f": (Verdict.FAILED, Verdict.MATCH_EXTENDED),
}
"""Node → the latest verdicts of its files."""


def report(file: int, verdict: Verdict) -> VerificationReport:
    return VerificationReport(str(uuid4()), f"/base/{file}", verdict, "why", NOON, image_id=IMAGE_ID)


@pytest.fixture
def filled(database: Database) -> Database:
    """Each file was something else before: that counts no more."""
    for node, latest in NODES.items():
        before = [report(file, Verdict.CORRUPT) for file in range(len(latest))]
        now = [report(file, verdict) for file, verdict in enumerate(latest)]
        database.transaction(lambda session: verifications.record(session, node, before))  # noqa: B023
        database.transaction(lambda session: verifications.record(session, node, now))  # noqa: B023
    return database


def nodes(database: Database, limit: int, after: NodeMarker | None = None) -> list[NodeSummary]:
    return database.transaction(lambda session: fleet.list_nodes(session, EVERYTHING, limit, after))


def test_nodes_with_corrupt_files_come_first_and_then_those_with_unknown_ones(filled: Database) -> None:
    found = nodes(filled, 100)

    names = [summary.node for summary in found]
    assert names[:2] == ["a", "b"]
    assert set(names[2:4]) == {"C", "d"}  # their order is the database's own
    assert names[4:] == ["e", "f"]
    assert list(found[0].counts.items()) == [(Verdict.CORRUPT, 1), (Verdict.UNKNOWN, 2)]
    assert list(found[5].counts) == [Verdict.FAILED, Verdict.MATCH_EXTENDED]
    assert {summary.checked_at for summary in found} == {NOON}


@pytest.mark.parametrize("limit", range(1, 8))
def test_pages_of_nodes_miss_nothing(filled: Database, limit: int) -> None:
    seen: list[str] = []
    after = None
    while part := nodes(filled, limit, after):
        seen += [summary.node for summary in part]
        after = fleet.marker_of(part[-1])

    assert seen == [summary.node for summary in nodes(filled, 100)]


@pytest.mark.parametrize("limit", range(1, 5))
def test_pages_of_files_miss_nothing(filled: Database, limit: int) -> None:
    wanted = FileFilter(verdict=Verdict.UNKNOWN)
    seen: list[tuple[str, str]] = []
    marker = None
    while part := filled.transaction(lambda session: fleet.list_files(session, EVERYTHING, wanted, limit, marker)):  # noqa: B023
        seen += [(record.node, record.report.file) for record in part]
        marker = part[-1].report.report_id

    assert sorted(seen) == [("C", "/base/0"), ("a", "/base/0"), ("a", "/base/2"), ("d", "/base/0")]


def test_filters_are_joined(filled: Database) -> None:
    def found(wanted: FileFilter) -> int:
        return len(filled.transaction(lambda session: fleet.list_files(session, EVERYTHING, wanted, 100, None)))

    assert found(FileFilter(node="a")) == 3
    assert found(FileFilter(node="a", verdict=Verdict.UNKNOWN)) == 2
    assert found(FileFilter(node="A")) == 0
    assert found(FileFilter(image_id=IMAGE_ID)) == 11
    assert found(FileFilter(image_id=str(uuid4()))) == 0


def test_the_worst_files_of_an_image_come_first(filled: Database) -> None:
    counts = filled.transaction(lambda session: fleet.count_verdicts(session, EVERYTHING, IMAGE_ID))
    worst = filled.transaction(lambda session: fleet.list_worst(session, EVERYTHING, IMAGE_ID, 4))

    assert list(counts.items()) == [
        (Verdict.CORRUPT, 2),
        (Verdict.UNKNOWN, 4),
        (Verdict.FAILED, 1),
        (Verdict.MATCH_EXTENDED, 1),
        (Verdict.MATCH, 3),
    ]
    verdicts = [record.report.verdict for record in worst]
    assert verdicts == [Verdict.CORRUPT] * 2 + [Verdict.UNKNOWN] * 2


def test_a_marker_that_no_report_has_is_unknown(filled: Database) -> None:
    with pytest.raises(UnknownMarker):
        filled.transaction(lambda session: fleet.list_files(session, EVERYTHING, FileFilter(node="a"), 1, str(uuid4())))


def test_every_verdict_has_its_place() -> None:
    assert set(fleet.WORST_FIRST) == set(Verdict)
