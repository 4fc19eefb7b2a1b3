"""The history: every event of an image's life, in the order in which it was written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from oslo_log import log
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from manifest_service.manifests.models import Event
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import HistoryEvent
from manifest_service.manifests.visibility import Visibility, may_see_image

LOG = log.getLogger(__name__)

UNREADABLE = "unreadable"
"""Code of an event whose detail nobody can read any more."""


@dataclass(frozen=True)
class EventFilter:
    """Which events to list; what is None is not asked for. since: written at or after this time, in UTC."""

    kind: EventKind | None = None
    image_id: str | None = None
    since: datetime | None = None


def add_event(  # noqa: PLR0913
    session: Session,
    image_id: str | None,
    kind: EventKind,
    at: datetime,
    detail: Mapping[str, Any],
    *,
    message_id: str | None = None,
) -> None:
    """Add a line to the history, in the transaction that does what the line says."""
    session.add(Event(image_id=image_id, kind=kind, at=at, detail=dict(detail), message_id=message_id))


def list_history(
    session: Session, seen_by: Visibility, image_id: str, limit: int, before: int | None = None
) -> list[HistoryEvent]:
    """The latest events of an image's life, oldest first. before: only events that precede the one of this number."""
    return list(reversed(list_events(session, seen_by, EventFilter(image_id=image_id), limit, before)))


def list_events(
    session: Session, seen_by: Visibility, wanted: EventFilter, limit: int, before: int | None = None
) -> list[HistoryEvent]:
    """One page of events, the latest first.

    limit: most events to answer. before: number of the last event of the page before.
    """
    query = select(Event).where(*_visible(seen_by)).order_by(Event.id.desc()).limit(limit)
    if wanted.kind is not None:
        query = query.where(Event.kind == wanted.kind)
    if wanted.image_id is not None:
        query = query.where(Event.image_id == wanted.image_id)
    if wanted.since is not None:
        query = query.where(Event.at >= wanted.since)
    if before is not None:
        query = query.where(Event.id < before)
    return [HistoryEvent(row.id, row.image_id, row.kind, row.at, _detail_of(row)) for row in session.scalars(query)]


def _detail_of(row: Event) -> Mapping[str, Any]:
    """What an event says, unless it stands there by somebody's hand, or the file is damaged."""
    detail: object = row.detail
    if isinstance(detail, Mapping):
        return detail
    LOG.error("event %d: the database holds no readable detail of it", row.id)
    return {"code": UNREADABLE}


def _visible(seen_by: Visibility) -> Iterator[ColumnElement[bool]]:
    yield may_see_image(seen_by, Event.image_id)
    if not seen_by.nodes:
        yield Event.kind != EventKind.VERIFIED
