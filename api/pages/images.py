"""`/images`: the list, the search, and a page for each image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from api.authorization import seen_by
from api.pages import searching
from api.pages.rendering import page
from api.problems import ProblemError
from api.service import ApiService
from manifest_service.errors import NEXT_STEPS
from manifest_service.manifests import fleet, history, queries
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.queries import ManifestFilter, Order
from manifest_service.manifests.states import UNFINISHED, EventKind, Status
from manifest_service.manifests.values import HistoryEvent, ManifestRecord
from manifest_service.manifests.verifications import VerificationRecord
from manifest_service.verdicts import Verdict

PAGE = 50
"""Images on one page."""
HISTORY = 100
FILES = 25
"""Files with their verdicts on an image's page."""
REVISIONS = 10
"""Older revisions that an image's page links to."""
VIOLATIONS = 5
RECENT = timedelta(days=30)
"""For how long the list of images warns of a violation. The image's own page always does."""

_OLDEST_FIRST = Order(descending=False)


@dataclass(frozen=True)
class ImagesPage:
    """A part of the list. older, newer: image id that the part after it, or before it, begins from; None at the end."""

    records: list[ManifestRecord]
    older: str | None
    newer: str | None


@dataclass(frozen=True)
class ImageDetails:
    """All that an image's page shows. counts: verdict → files, the worst first; files: the worst of them."""

    record: ManifestRecord | None
    is_deleted: bool | None
    events: list[HistoryEvent]
    violations: list[HistoryEvent]
    counts: dict[Verdict, int]
    files: list[VerificationRecord]


def add_to(blueprint: Blueprint, service: ApiService) -> None:
    """Add the pages of images."""

    @blueprint.get("/images")
    def list_images() -> ResponseReturnValue:
        sought = request.args.get("q", "").strip()
        if sought:
            return _answer(service, sought)
        wanted = ManifestFilter(status=_status_of(request.args.get("status", "")))
        older, newer = request.args.get("older"), request.args.get("newer")
        limit = min(PAGE, service.page_limit)  # a script looks all of a page up in one call

        def read(session: Session) -> tuple[ImagesPage, list[tuple[HistoryEvent, str | None]]]:
            is_start = wanted.status is None and older is None and newer is None
            return _read_page(session, wanted, limit, older, newer), _recent_violations(session) if is_start else []

        try:
            part, violations = service.database.transaction(read)
        except queries.UnknownMarker:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "unknown-marker", "this part of the list begins from an image that is not known"
            ) from None
        return page(
            "images.html",
            part=part,
            status=wanted.status,
            statuses=list(Status),
            unfinished=UNFINISHED,
            violations=violations,
        )

    @blueprint.get("/images/<uuid:image_id>")
    def show_image(image_id: UUID) -> ResponseReturnValue:
        details = service.database.transaction(lambda session: _read_details(session, str(image_id)))
        if details.record is None:
            status = HTTPStatus.GONE if details.is_deleted else HTTPStatus.NOT_FOUND
            return page("no_image.html", status, image_id=str(image_id), details=details)
        record = details.record
        return page(
            "image.html",
            record=record,
            details=details,
            next_step=NEXT_STEPS.get(record.code or ""),
            unfinished=UNFINISHED,
            older_revisions=range(record.revision - 1, max(0, record.revision - 1 - REVISIONS), -1),
        )


def _recent_violations(session: Session) -> list[tuple[HistoryEvent, str | None]]:
    """The latest events of images whose bytes changed under the same id, each with the name of its image."""
    events = history.list_events(session, seen_by(), EventFilter(kind=EventKind.IMMUTABILITY_VIOLATION), VIOLATIONS)
    since = database_now(session) - RECENT
    recent = [event for event in events if event.at >= since]
    image_ids = [event.image_id for event in recent if event.image_id is not None]
    images = queries.find_by_image_ids(session, seen_by(), image_ids)
    names = {record.image_id: record.name for record in images}
    return [(event, names.get(event.image_id or "")) for event in recent]


def _answer(service: ApiService, sought: str) -> ResponseReturnValue:
    """Answer a search: one image by its own page, several by a list, none by a sentence."""
    result = service.database.transaction(lambda session: searching.search(session, sought))
    if len(result.records) == 1:
        return redirect(f"/images/{result.records[0].image_id}", HTTPStatus.SEE_OTHER)
    return page("found.html", result=result, sought=sought[: searching.LONGEST], unfinished=UNFINISHED)


def _read_page(
    session: Session, wanted: ManifestFilter, limit: int, older: str | None, newer: str | None
) -> ImagesPage:
    """Read a part of the list, and whether there is more on either side. Raises UnknownMarker."""
    if newer is not None:
        found = queries.list_current(session, seen_by(), wanted, limit + 1, newer, _OLDEST_FIRST)
        records = found[:limit][::-1]
        has_newer, has_older = len(found) > limit, True
    else:
        found = queries.list_current(session, seen_by(), wanted, limit + 1, older)
        records = found[:limit]
        has_newer, has_older = older is not None, len(found) > limit
    return ImagesPage(
        records,
        older=records[-1].image_id if records and has_older else None,
        newer=records[0].image_id if records and has_newer else None,
    )


def _read_details(session: Session, image_id: str) -> ImageDetails:
    violations = EventFilter(kind=EventKind.IMMUTABILITY_VIOLATION, image_id=image_id)
    visible = seen_by(nodes=True)
    return ImageDetails(
        record=queries.get_current(session, visible, image_id),
        is_deleted=queries.image_is_deleted(session, visible, image_id),
        events=history.list_history(session, visible, image_id, HISTORY + 1),
        violations=history.list_events(session, visible, violations, VIOLATIONS),
        counts=fleet.count_verdicts(session, visible, image_id),
        files=fleet.list_worst(session, visible, image_id, FILES),
    )


def _status_of(text: str) -> Status | None:
    """The state that the list is narrowed to. Raises ProblemError for one that there is not."""
    if not text:
        return None
    try:
        return Status(text)
    except ValueError:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "invalid-request", f"status: images are {', '.join(Status)}, and never {text}"
        ) from None
