"""How the service stands, on all hosts, as its database tells: the queue, who works, what failed, what was found.

Each query is answered from an index, or counts what is rare: failed images, findings, processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from manifest_service.manifests import processes
from manifest_service.manifests.database import database_now
from manifest_service.manifests.models import Event, Image, Manifest, SigningKey, Verification
from manifest_service.manifests.processes import ProcessRecord
from manifest_service.manifests.records import SERVED
from manifest_service.manifests.states import EventKind, Status
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing import duties
from manifest_service.processing.duties import DutyRecord
from manifest_service.verdicts import Verdict

RECENT = timedelta(days=1)
"""How far back findings and failures count as recent."""
FINDINGS = (EventKind.IMMUTABILITY_VIOLATION, EventKind.SOURCE_CHANGED)
UNDER_WAY = 100
"""Images under way that are listed at most."""
LAST_FAILURES = 5


@dataclass(frozen=True)
class Waiting:
    """An entry that nobody has taken. code: of its last attempt, where that failed."""

    image_id: str
    name: str | None
    age: float
    attempts: int
    code: str | None


@dataclass(frozen=True)
class Queue:
    """Entries by state: due, put off after a failed attempt, held by a worker. oldest_age: of all, in seconds.

    oldest_waiting: of those that nobody holds.
    """

    due: int
    delayed: int
    computing: int
    oldest_age: float | None
    oldest_waiting: Waiting | None

    @property
    def length(self) -> int:
        """All entries."""
        return self.due + self.delayed + self.computing


@dataclass(frozen=True)
class UnderWay:
    """An image that a worker is at. done, total: bytes of its disk, 0 until that is open. since: in UTC."""

    image_id: str
    name: str | None
    worker: str
    attempt: int
    done: int
    total: int
    since: datetime


@dataclass(frozen=True)
class FailureCount:
    """Images whose manifest is refused or failed now, by code. last: when the last of them became so, in UTC."""

    status: str
    code: str
    images: int
    last: datetime


@dataclass(frozen=True)
class FailureEvent:
    """An image that failed lately. at: in UTC."""

    image_id: str | None
    code: str
    at: datetime


@dataclass(frozen=True)
class FindingCount:
    """Findings of one kind in the history, those of the last day, and when the last one was, in UTC."""

    kind: str
    total: int
    recent: int
    last: datetime | None


@dataclass(frozen=True)
class Overview:
    """How everything stood at one moment. at: by the database's clock, in UTC.

    node_files: verdict → files that nodes now report so, those of all is well left out. has_keys: whether statements
    were ever signed.
    """

    at: datetime
    queue: Queue
    under_way: Sequence[UnderWay]
    processes: Sequence[ProcessRecord]
    failures: Sequence[FailureCount]
    last_failures: Sequence[FailureEvent]
    findings: Sequence[FindingCount]
    node_files: Mapping[str, int]
    duties: Sequence[DutyRecord]
    has_keys: bool

    def parts(self, name: str) -> list[Mapping[str, object]]:
        """How each live part of this name is: `listener`, `worker`, `api`."""
        return [process.parts[name] for process in self.processes if process.lives and name in process.parts]

    @property
    def deaf_listeners(self) -> list[Mapping[str, object]]:
        """Live listeners that reach no broker, or are not let in."""
        return [part for part in self.parts("listener") if part.get("broker") != "ok" or not part.get("listening")]


def read(session: Session) -> Overview:
    """Look at everything."""
    now = database_now(session)
    return Overview(
        at=now,
        queue=read_queue(session, now),
        under_way=_under_way(session),
        processes=processes.list_processes(session, now),
        failures=count_failures(session),
        last_failures=_last_failures(session, now),
        findings=[_findings(session, kind, now) for kind in FINDINGS],
        node_files=count_node_files(session),
        duties=duties.list_duties(session),
        has_keys=session.scalar(select(SigningKey.key_id).limit(1)) is not None,
    )


def read_queue(session: Session, now: datetime) -> Queue:
    """The queue in figures, all from one look through it. now: by the database's clock."""
    is_held = QueueEntry.lease.is_not(None)
    is_delayed = and_(QueueEntry.lease.is_(None), QueueEntry.due_at > now)
    length, computing, delayed, oldest = session.execute(
        select(
            func.count(),
            func.count(case((is_held, 1))),
            func.count(case((is_delayed, 1))),
            func.min(QueueEntry.enqueued_at),
        ).select_from(QueueEntry)
    ).one()
    return Queue(
        due=length - computing - delayed,
        delayed=delayed,
        computing=computing,
        oldest_age=None if oldest is None else _seconds(oldest, now),
        oldest_waiting=_oldest_waiting(session, now) if length > computing else None,
    )


def count_failures(session: Session) -> list[FailureCount]:
    """What is refused or failed now, by code, the most frequent first."""
    count, last = func.count(), func.max(Manifest.updated_at)
    query = (
        select(Image.status, Manifest.code, count, last)
        .join(Manifest, SERVED)
        .where(Image.status.in_((Status.FAILED, Status.REFUSED)))
        .group_by(Image.status, Manifest.code)
        .order_by(count.desc(), Manifest.code)
    )
    rows = session.execute(query).all()
    return [FailureCount(str(status), code or "unknown", images, at) for status, code, images, at in rows]


def count_node_files(session: Session) -> dict[str, int]:
    """Files that nodes now report as something else than what they should be, or as not to be told."""
    verdicts = (Verdict.CORRUPT, Verdict.RESIZED, Verdict.UNKNOWN, Verdict.FAILED)
    query = select(Verification.verdict, func.count()).where(
        Verification.is_latest.is_(True), Verification.verdict.in_(verdicts)
    )
    found = {str(verdict): count for verdict, count in session.execute(query.group_by(Verification.verdict))}
    return {str(verdict): found.get(verdict, 0) for verdict in verdicts}


def _oldest_waiting(session: Session, now: datetime) -> Waiting | None:
    query = (
        select(QueueEntry, Image.name, Manifest.code)
        .join(Image, Image.image_id == QueueEntry.image_id)
        .join(Manifest, Manifest.id == QueueEntry.manifest_id)
        .where(QueueEntry.lease.is_(None))
        .order_by(QueueEntry.enqueued_at, QueueEntry.manifest_id)
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    entry, name, code = row
    return Waiting(entry.image_id, name, _seconds(entry.enqueued_at, now), entry.attempts, code)


def _under_way(session: Session) -> list[UnderWay]:
    query = (
        select(QueueEntry, Image.name, Manifest.updated_at)
        .join(Image, Image.image_id == QueueEntry.image_id)
        .join(Manifest, Manifest.id == QueueEntry.manifest_id)
        .where(QueueEntry.lease.is_not(None))
        .order_by(QueueEntry.worker)
        .limit(UNDER_WAY)
    )
    return [
        UnderWay(
            image_id=entry.image_id,
            name=name,
            worker=entry.worker or "unknown",
            attempt=entry.attempts,
            done=entry.bytes_done,
            total=entry.bytes_total,
            since=since,
        )
        for entry, name, since in session.execute(query)
    ]


def _last_failures(session: Session, now: datetime) -> list[FailureEvent]:
    query = select(Event).where(Event.kind == EventKind.FAILED, Event.at >= now - RECENT)
    rows = session.scalars(query.order_by(Event.id.desc()).limit(LAST_FAILURES))
    return [FailureEvent(row.image_id, str(row.detail.get("code")), row.at) for row in rows]


def _findings(session: Session, kind: EventKind, now: datetime) -> FindingCount:
    count = select(func.count()).where(Event.kind == kind)
    recent = session.scalar(count.where(Event.at >= now - RECENT)) or 0
    last = session.scalar(select(Event.at).where(Event.kind == kind).order_by(Event.id.desc()).limit(1))
    return FindingCount(kind, session.scalar(count) or 0, recent, last)


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
