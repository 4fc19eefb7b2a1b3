"""What nodes report of their files: recorded once, and read again. Every function works in the caller's transaction.

A row is the latest of its node and file until one comes in that was checked then or later; reports that a node had to
keep for a while, and sends late, change nothing about that. Two transactions that see the same latest row at once
cannot both follow it: the row's constraint refuses the second, and `Database.transaction` runs that anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oslo_log import log
from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.models import Image, Verification
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.visibility import Visibility, may_see_image
from manifest_service.verdicts import Evidence, Verdict

LOG = log.getLogger(__name__)


@dataclass(frozen=True)
class VerificationReport:
    """What a node says of one of its files at one moment.

    report_id: a UUID that the node made. image_id, cache_name: of the image that the file belongs to, as far as the
    node knows. algorithm: of the digest that the evidence is, where it is one. differs: (offset, length) of the ranges
    that differ, in bytes. size: bytes of the file. reason: a sentence. checked_at: by the node's clock, in UTC.
    verdict and evidence are other words where a newer version has recorded them, as during an upgrade.
    """

    report_id: str
    file: str
    verdict: Verdict | str
    reason: str
    checked_at: datetime
    image_id: str | None = None
    cache_name: str | None = None
    evidence: Evidence | str | None = None
    algorithm: str | None = None
    differs: tuple[tuple[int, int], ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class VerificationRecord:
    """A report as it was recorded. received_at: by the database's clock. is_latest: of this node and file.

    reported_by: Keystone's id of the user who reported it; None where nobody was authenticated.
    """

    node: str
    report: VerificationReport
    received_at: datetime
    is_latest: bool
    reported_by: str | None = None


@dataclass(frozen=True)
class VerificationFilter:
    """Which verifications to list; what is None is not asked for.

    file: the whole path. since, until: checked at or after the one and before the other, in UTC. latest: only the
    latest of each node and file.
    """

    node: str | None = None
    image_id: str | None = None
    verdict: Verdict | None = None
    file: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    latest: bool = False


class UnknownMarker(LookupError):
    """The marker of a page is no report that has been recorded."""


def record(session: Session, node: str, reports: Iterable[VerificationReport], reported_by: str | None = None) -> int:
    """Record what is new among a node's reports, and answer how many that were.

    reported_by: Keystone's id of the user who reports; None where nobody is authenticated.

    The history of an image that is known gets a line with the first verdict on each of its files and with every other
    verdict after that: by the latest report, so that neither each night's match nor a late report makes one.
    """
    now = database_now(session)
    new = _not_recorded(session, reports)
    latest = _latest_rows(session, node, new)
    rows: list[Verification] = []
    turns: list[Verification] = []
    for report in new:
        row = _row(node, report, now, reported_by)
        rows.append(row)
        before = latest.get(row.file_key)
        if before is not None and row.checked_at < before.checked_at:
            continue
        if before is not None:
            before.is_latest = None
        row.is_latest = True
        latest[row.file_key] = row
        if before is None or before.verdict != row.verdict:
            turns.append(row)
    # The rows that are followed are written before those that follow them: there may be one latest at a time.
    session.flush()
    session.add_all(rows)
    session.flush()
    _add_to_histories(session, turns, now)
    return len(rows)


def list_page(
    session: Session, seen_by: Visibility, wanted: VerificationFilter, limit: int, marker: str | None
) -> list[VerificationRecord]:
    """One page of verifications, those received last coming first.

    limit: most records to answer. marker: report id of the last record of the page before. Raises UnknownMarker.
    """
    if not seen_by.nodes:
        return []
    visible = may_see_image(seen_by, Verification.image_id)
    query = select(Verification).where(visible, *_conditions(wanted)).order_by(Verification.id.desc()).limit(limit)
    if marker is not None:
        last = session.scalar(select(Verification.id).where(visible, Verification.report_id == marker))
        if last is None:
            raise UnknownMarker(marker)
        query = query.where(Verification.id < last)
    return [as_record(row) for row in session.scalars(query)]


def _key_of(file: str) -> str:
    """What a path is found by: its SHA-256 in hex."""
    return hashlib.sha256(file.encode()).hexdigest()


def _not_recorded(session: Session, reports: Iterable[VerificationReport]) -> list[VerificationReport]:
    """Those of the reports that are not there yet, each once, in the order in which the files were checked."""
    by_id = {report.report_id: report for report in reports}
    recorded = set(session.scalars(select(Verification.report_id).where(Verification.report_id.in_(by_id))))
    new = [report for report_id, report in by_id.items() if report_id not in recorded]
    return sorted(new, key=lambda report: report.checked_at)


def _latest_rows(session: Session, node: str, reports: Sequence[VerificationReport]) -> dict[str, Verification]:
    """The latest rows of the files that the reports are about, by the files' keys."""
    keys = {_key_of(report.file) for report in reports}
    rows = session.scalars(
        select(Verification).where(
            Verification.node == node, Verification.file_key.in_(keys), Verification.is_latest == true()
        )
    )
    return {row.file_key: row for row in rows}


def _row(node: str, report: VerificationReport, now: datetime, reported_by: str | None) -> Verification:
    return Verification(
        report_id=report.report_id,
        node=node,
        file=report.file,
        file_key=_key_of(report.file),
        image_id=report.image_id,
        cache_name=report.cache_name,
        verdict=report.verdict,
        evidence=report.evidence,
        algorithm=report.algorithm,
        differs=[list(each) for each in report.differs],
        size=report.size,
        reason=report.reason,
        # A node whose clock is ahead must not keep its later reports from being the latest.
        checked_at=min(report.checked_at, now),
        received_at=now,
        reported_by=reported_by,
    )


def _add_to_histories(session: Session, turns: Sequence[Verification], now: datetime) -> None:
    image_ids = {row.image_id for row in turns if row.image_id is not None}
    if not image_ids:
        return
    known = set(session.scalars(select(Image.image_id).where(Image.image_id.in_(image_ids))))
    for row in turns:
        if row.image_id in known:
            detail = {"node": row.node, "file": row.file, "verdict": row.verdict}
            add_event(session, row.image_id, EventKind.VERIFIED, now, detail)


def _conditions(wanted: VerificationFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.node is not None:
        conditions.append(Verification.node == wanted.node)
    if wanted.image_id is not None:
        conditions.append(Verification.image_id == wanted.image_id)
    if wanted.verdict is not None:
        conditions.append(Verification.verdict == wanted.verdict)
    if wanted.file is not None:
        conditions.append(Verification.file_key == _key_of(wanted.file))
    if wanted.since is not None:
        conditions.append(Verification.checked_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(Verification.checked_at < wanted.until)
    if wanted.latest:
        conditions.append(Verification.is_latest == true())
    return conditions


def as_record(row: Verification) -> VerificationRecord:
    """The record of a row."""
    report = VerificationReport(
        report_id=row.report_id,
        file=row.file,
        verdict=_known(Verdict, row.verdict),
        reason=row.reason,
        checked_at=row.checked_at,
        image_id=row.image_id,
        cache_name=row.cache_name,
        evidence=None if row.evidence is None else _known(Evidence, row.evidence),
        algorithm=row.algorithm,
        differs=_ranges_of(row),
        size=row.size,
    )
    return VerificationRecord(
        node=row.node,
        report=report,
        received_at=row.received_at,
        is_latest=row.is_latest is not None,
        reported_by=row.reported_by,
    )


def _ranges_of(row: Verification) -> tuple[tuple[int, int], ...]:
    """What differs, unless it stands there by somebody's hand, or the file is damaged: the verdict is known then."""
    ranges: object = row.differs
    if isinstance(ranges, list):
        return tuple((offset, length) for offset, length in ranges)
    LOG.error("verification %s: the database holds no readable ranges of it", row.report_id)
    return ()


def _known(family: type[StrEnum], word: str) -> str:
    """A word as the member that it is of its family, if it is one."""
    try:
        return family(word)
    except ValueError:
        return word
