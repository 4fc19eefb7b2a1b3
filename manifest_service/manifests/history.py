"""The history: every event of an image's life, in the order in which it was written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from manifest_service.manifests.models import Event
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import HistoryEvent


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


def list_history(session: Session, image_id: str, limit: int, before: int | None = None) -> list[HistoryEvent]:
    """The latest events of an image's life, oldest first. before: only events that precede the one of this number."""
    return list(reversed(list_events(session, EventFilter(image_id=image_id), limit, before)))


def list_events(session: Session, wanted: EventFilter, limit: int, before: int | None = None) -> list[HistoryEvent]:
    """One page of events, the latest first.

    limit: most events to answer. before: number of the last event of the page before.
    """
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if wanted.kind is not None:
        query = query.where(Event.kind == wanted.kind)
    if wanted.image_id is not None:
        query = query.where(Event.image_id == wanted.image_id)
    if wanted.since is not None:
        query = query.where(Event.at >= wanted.since)
    if before is not None:
        query = query.where(Event.id < before)
    return [HistoryEvent(row.id, row.image_id, row.kind, row.at, row.detail) for row in session.scalars(query)]


def count(session: Session, kind: EventKind) -> int:
    """How many events of one kind there are."""
    return session.scalar(select(func.count()).where(Event.kind == kind)) or 0
