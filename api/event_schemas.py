"""What goes in and out of the resources of the history, as pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from api.answers import Answer
from api.schemas import MAX_SIZE, PageQuery, Request, Time
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import HistoryEvent

EventMarker = Annotated[int, Field(ge=1, le=MAX_SIZE, description="Number of the last event of the page before.")]


class HistoryQuery(Request):
    """How much of the history: its latest events, or those that precede the marker."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    marker: EventMarker | None = None


class EventsQuery(PageQuery):
    """Which events."""

    marker: EventMarker | None = None
    kind: EventKind | None = None
    image_id: UUID | None = None
    since: Annotated[Time, Field(description="At or after this time.")] | None = None

    def as_filter(self) -> EventFilter:
        """The domain's own form."""
        return EventFilter(
            kind=self.kind, image_id=None if self.image_id is None else str(self.image_id), since=self.since
        )


class EventDocument(Answer):
    """One line of an image's history. number: grows with each. image_id: null where Glance does not say it.

    kind: any word, for a newer version may have written it, as during an upgrade.
    """

    number: int
    image_id: UUID | None
    kind: Annotated[EventKind | str, Field(description="Further ones may come.")]
    at: datetime
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: HistoryEvent) -> EventDocument:
        """The document of an event."""
        return cls(
            number=event.number,
            image_id=None if event.image_id is None else UUID(event.image_id),
            kind=event.kind,
            at=event.at,
            detail=dict(event.detail),
        )


class EventList(Answer):
    """A page of events; `links.next` is there while there may be more."""

    events: list[EventDocument]
    links: dict[str, str]


class HistoryDocument(EventList):
    """Events of one image's life, oldest first; `links.next` leads to those before them."""
