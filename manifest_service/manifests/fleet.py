"""The fleet as its nodes report it: who holds files that are not what they should be.

Only the latest verdict of each node and file counts. Every query is bounded by its caller and answered from an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from manifest_service.manifests.models import Verification
from manifest_service.manifests.verifications import UnknownMarker, VerificationRecord, as_record
from manifest_service.manifests.visibility import Visibility, may_see_image
from manifest_service.verdicts import Verdict

WORST_FIRST = (
    Verdict.CORRUPT,
    Verdict.RESIZED,
    Verdict.UNKNOWN,
    Verdict.FAILED,
    Verdict.CHANGED_WHILE_READING,
    Verdict.PENDING,
    Verdict.MATCH_UNCONVERTED,
    Verdict.NOT_APPLICABLE,
    Verdict.MATCH_EXTENDED,
    Verdict.MATCH,
)
"""Verdicts in the order in which people want to see them."""
ALARMING = (Verdict.CORRUPT, Verdict.UNKNOWN)
"""Verdicts whose nodes come before all others, those of the first before those of the second."""


@dataclass(frozen=True)
class NodeSummary:
    """What a node says of its files. counts: verdict → files, the worst first. checked_at: the last of them, in UTC."""

    node: str
    counts: Mapping[Verdict, int]
    checked_at: datetime


@dataclass(frozen=True)
class NodeMarker:
    """The last node of a page. alarm: the verdict in ALARMING that brought it forward; None for all other nodes."""

    node: str
    alarm: Verdict | None


@dataclass(frozen=True)
class FileFilter:
    """Which files to list; what is None is not asked for."""

    node: str | None = None
    verdict: Verdict | None = None
    image_id: str | None = None


def list_nodes(session: Session, seen_by: Visibility, limit: int, after: NodeMarker | None) -> list[NodeSummary]:
    """One page of nodes, those that hold corrupt files first, then those with unknown ones, then all others by name.

    limit: most nodes to answer. after: the last node of the page before.
    """
    names: list[str] = []
    alarms: tuple[Verdict | None, ...] = (*ALARMING, None)
    begin = 0 if after is None else alarms.index(after.alarm)
    for alarm in alarms[begin:]:
        behind = after.node if after is not None and alarm == after.alarm else None
        names += _nodes_of(session, seen_by, alarm, limit - len(names), behind)
        if len(names) == limit:
            break
    return _summaries(session, seen_by, names)


def marker_of(summary: NodeSummary) -> NodeMarker:
    """What a page that ends with this node is continued by."""
    return NodeMarker(summary.node, next((alarm for alarm in ALARMING if alarm in summary.counts), None))


def list_files(
    session: Session, seen_by: Visibility, wanted: FileFilter, limit: int, marker: str | None
) -> list[VerificationRecord]:
    """One page of files with their latest verdicts, by node. At least one filter must be given: all may be millions.

    limit: most records to answer. marker: report id of the last record of the page before. Raises UnknownMarker.
    """
    query = select(Verification).where(_visible(seen_by), *_conditions(wanted))
    if marker is not None:
        last = session.execute(
            select(Verification.node, Verification.id).where(_visible(seen_by), Verification.report_id == marker)
        ).one_or_none()
        if last is None:
            raise UnknownMarker(marker)
        # Not a comparison of pairs: MariaDB would not answer that from the index.
        query = query.where(
            Verification.node >= last.node, or_(Verification.node > last.node, Verification.id > last.id)
        )
    rows = session.scalars(query.order_by(Verification.node, Verification.id).limit(limit))
    return [as_record(row) for row in rows]


def list_worst(session: Session, seen_by: Visibility, image_id: str, limit: int) -> list[VerificationRecord]:
    """Files of an image, those with the worst verdicts first; at most `limit`."""
    found: list[VerificationRecord] = []
    for verdict in count_verdicts(session, seen_by, image_id):
        if len(found) == limit:
            break
        wanted = FileFilter(verdict=verdict, image_id=image_id)
        found += list_files(session, seen_by, wanted, limit - len(found), None)
    return found


def count_verdicts(session: Session, seen_by: Visibility, image_id: str) -> dict[Verdict, int]:
    """How many files of an image have which verdict, the worst first."""
    rows = session.execute(
        select(Verification.verdict, func.count())
        .where(_visible(seen_by), *_conditions(FileFilter(image_id=image_id)))
        .group_by(Verification.verdict)
    )
    return _worst_first({str(verdict): count for verdict, count in rows})


def _visible(seen_by: Visibility) -> ColumnElement[bool]:
    return may_see_image(seen_by, Verification.image_id) if seen_by.nodes else false()


def _nodes_of(
    session: Session, seen_by: Visibility, alarm: Verdict | None, limit: int, behind: str | None
) -> Sequence[str]:
    """Names of the nodes that one alarm, and none before it, brings forward. behind: only those after this name."""
    query = select(Verification.node).where(
        Verification.is_latest == true(), _visible(seen_by), *_never_earlier(seen_by, alarm)
    )
    if alarm is not None:
        query = query.where(Verification.verdict == alarm)
    if behind is not None:
        query = query.where(Verification.node > behind)
    return session.scalars(query.group_by(Verification.node).order_by(Verification.node).limit(limit)).all()


def _never_earlier(seen_by: Visibility, alarm: Verdict | None) -> Iterator[ColumnElement[bool]]:
    """Conditions: the node holds no file of an alarm that comes before this one."""
    for earlier in ALARMING if alarm is None else ALARMING[: ALARMING.index(alarm)]:
        other = aliased(Verification)
        yield (
            ~select(other.id)
            .where(and_(other.is_latest == true(), other.verdict == earlier, other.node == Verification.node))
            .where(may_see_image(seen_by, other.image_id))
            .exists()
        )


def _summaries(session: Session, seen_by: Visibility, names: Sequence[str]) -> list[NodeSummary]:
    rows = session.execute(
        select(Verification.node, Verification.verdict, func.count(), func.max(Verification.checked_at))
        .where(Verification.is_latest == true(), Verification.node.in_(names), _visible(seen_by))
        .group_by(Verification.node, Verification.verdict)
    )
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    checked: dict[str, datetime] = {}
    for node, verdict, count, checked_at in rows:
        counts[node][verdict] = count
        checked[node] = max(checked_at, checked.get(node, checked_at))
    return [NodeSummary(name, _worst_first(counts[name]), checked[name]) for name in names]


def _worst_first(counts: Mapping[str, int]) -> dict[Verdict, int]:
    """Of the verdicts that are known here: a newer version may have recorded others."""
    return {verdict: counts[verdict] for verdict in WORST_FIRST if verdict in counts}


def _conditions(wanted: FileFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [Verification.is_latest == true()]
    if wanted.node is not None:
        conditions.append(Verification.node == wanted.node)
    if wanted.verdict is not None:
        conditions.append(Verification.verdict == wanted.verdict)
    if wanted.image_id is not None:
        conditions.append(Verification.image_id == wanted.image_id)
    return conditions
