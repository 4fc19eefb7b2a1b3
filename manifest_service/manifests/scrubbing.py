"""Which sources are to be read again, and what was found of them. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from manifest_service.manifests import immutability
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.immutability import Content, expected_content, read_content
from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import EventKind, Status
from manifest_service.manifests.work_models import Scrub

_SUSPECTED = "suspected"
"""Marks what was found once and is not told yet, in the database."""


@dataclass(frozen=True)
class Candidate:
    """A ready manifest whose source is to be read again.

    read: what it was computed from. recorded: what Glance had recorded of it then.
    """

    manifest_id: int
    image_id: str
    revision: int
    read: Content
    recorded: Content


@dataclass(frozen=True)
class Finding:
    """What is not as it was. differs: `size` or algorithm → before and now; reason: a sentence where there is none.

    may_pass: it may be a deletion on its way; it counts once it is found a second time.
    """

    differs: Mapping[str, Any]
    reason: str | None = None
    may_pass: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the history, and for a database to keep."""
        found: dict[str, Any] = {"differs": dict(self.differs)} if self.differs else {}
        return found if self.reason is None else {**found, "reason": self.reason}


def next_due(session: Session, before: datetime, limit: int) -> list[Candidate]:
    """Served manifests that were last read before this time: those first that were read longest ago."""
    last_read = func.coalesce(Scrub.scrubbed_at, Manifest.computed_at)
    query = _served().outerjoin(Scrub, Scrub.manifest_id == Manifest.id).where(last_read < before)
    return [_candidate(row) for row in session.scalars(query.order_by(last_read, Manifest.id).limit(limit))]


def of_image(session: Session, image_id: str) -> Candidate | None:
    """The served manifest of an image, whenever it was read; None where there is no ready one of our own."""
    row = session.scalar(_served().where(Image.image_id == image_id))
    return None if row is None else _candidate(row)


def note(
    session: Session,
    read: Candidate,
    findings: Mapping[str, Finding],
    unseen: Collection[str] = (),
    brought_forward: timedelta = timedelta(0),
) -> list[str]:
    """Write down that a source was read, and what was found: place (`store`, `glance`) → finding.

    unseen: places that could not be looked at, so that what was found there before still stands.
    brought_forward: so much earlier than otherwise a source is due again of which something is found that may pass.
    Answers the places of which something is told that was not known: a finding that stands is told once. Nothing is
    written of an image that was deleted meanwhile, or has another revision.
    """
    if of_image(session, read.image_id) != read:
        return []
    now = database_now(session)
    row = session.get(Scrub, read.manifest_id)
    if row is None:
        row = Scrub(manifest_id=read.manifest_id, findings={})
        session.add(row)
    found = {place: _kept(finding, row.findings.get(place)) for place, finding in findings.items()}
    news = [place for place, what in found.items() if _SUSPECTED not in what and row.findings.get(place) != what]
    is_suspected = any(_SUSPECTED in what for what in found.values())
    row.scrubbed_at = now - brought_forward if is_suspected else now
    row.findings = {place: what for place, what in row.findings.items() if place in unseen} | found
    for place in news:
        detail = {"revision": read.revision, **found[place]}
        add_event(session, read.image_id, EventKind.SOURCE_CHANGED, now, {"place": place, **detail})
        immutability.report(session, read.image_id, place, detail, now)
    return news


def _kept(finding: Finding, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """How a finding is kept. before: what is kept of its place until now."""
    what = finding.as_json()
    suspected = {**what, _SUSPECTED: True}
    return suspected if finding.may_pass and before not in (what, suspected) else what


def _served() -> Select[Manifest]:
    return (
        select(Manifest)
        .join(Image, (Manifest.image_id == Image.image_id) & (Manifest.revision == Image.current_revision))
        .where(Image.status == Status.READY, Image.imported_at.is_(None), Manifest.status == Status.READY)
    )


def _candidate(row: Manifest) -> Candidate:
    return Candidate(row.id, row.image_id, row.revision, read_content(row), expected_content(row))
