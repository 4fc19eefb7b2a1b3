"""Freeing what is stuck: rows that contradict each other, so that nothing would ever come of them by itself.

The service's own transactions leave no such rows. A database that was restored from parts, edited by hand, or written
by a version with a defect may have them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, select, update
from sqlalchemy.orm import Session

from manifest_service.manifests import pending, serving
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import UNFINISHED, EventKind, Status
from manifest_service.manifests.work_models import QueueEntry

AT_ONCE = 100
"""Rows that one transaction repairs."""

_HAS_ENTRY = exists().where(QueueEntry.manifest_id == Manifest.id)


def repair(session: Session) -> int:
    """Free some of what is stuck, each with a line in its image's history; answers how many, 0 when nothing is left."""
    for step in (_end_entries, _end_deleted, _queue_forgotten, _begin_anew, _serve_newest, _say_anew):
        if done := step(session):
            return done
    return 0


def _end_entries(session: Session) -> int:
    """Entries of manifests that are final already: a worker would compute them for nothing."""
    finished = Manifest.status.not_in(UNFINISHED)
    rows = _manifests(session, and_(finished, _HAS_ENTRY))
    session.execute(
        delete(QueueEntry)
        .where(QueueEntry.manifest_id.in_([row.id for row in rows]))
        .execution_options(synchronize_session=False)
    )
    return _told(session, rows, "a queue entry of a manifest that was final")


def _end_deleted(session: Session) -> int:
    """Manifests that wait, of images that Glance has deleted."""
    deleted = exists().where(Image.image_id == Manifest.image_id, Image.deleted_at.is_not(None))
    rows = _manifests(session, and_(Manifest.status.in_(UNFINISHED), deleted))
    session.execute(delete(QueueEntry).where(QueueEntry.manifest_id.in_([row.id for row in rows])))
    return _told(session, rows, "an unfinished manifest of a deleted image", status=Status.DELETED)


def _queue_forgotten(session: Session) -> int:
    """Manifests that wait, or are being computed, without an entry: no worker would ever find them."""
    rows = _manifests(session, and_(Manifest.status.in_(UNFINISHED), ~_HAS_ENTRY))
    now = database_now(session)
    session.add_all(pending.new_entry(row, now) for row in rows)
    return _told(session, rows, "an unfinished manifest without a queue entry", status=Status.PENDING)


def _begin_anew(session: Session) -> int:
    """Manifests that are called computing, while nobody holds their entry."""
    nobody = exists().where(QueueEntry.manifest_id == Manifest.id, QueueEntry.lease.is_(None))
    rows = _manifests(session, and_(Manifest.status == Status.COMPUTING, nobody))
    return _told(session, rows, "a manifest called computing that nobody computes", status=Status.PENDING)


def _serve_newest(session: Session) -> int:
    """Images that serve a revision that is not there, though they have others."""
    served = exists().where(Manifest.image_id == Image.image_id, Manifest.revision == Image.current_revision)
    any_of_them = exists().where(Manifest.image_id == Image.image_id)
    images = session.scalars(select(Image).where(~served, any_of_them).limit(AT_ONCE)).all()
    for image in images:
        ready_first = case((Manifest.status == Status.READY, 0), else_=1)
        image.current_revision = session.scalar(
            select(Manifest.revision)
            .where(Manifest.image_id == image.image_id)
            .order_by(ready_first, Manifest.revision.desc())
            .limit(1)
        )
    return _noted(session, [image.image_id for image in images], "a revision that was served and is not there")


def _say_anew(session: Session) -> int:
    """Images of which their own row says something else than their manifest."""
    served = (
        select(Manifest.status)
        .where(Manifest.image_id == Image.image_id, Manifest.revision == Image.current_revision)
        .scalar_subquery()
    )
    right = case((Image.deleted_at.is_not(None), Status.DELETED), else_=served)
    differs = func.coalesce(Image.status, "") != func.coalesce(right, "")
    image_ids = session.scalars(select(Image.image_id).where(differs).limit(AT_ONCE)).all()
    return _noted(session, image_ids, "an image's row that contradicted its manifest")


def _manifests(session: Session, condition: ColumnElement[bool]) -> Sequence[Manifest]:
    return session.scalars(select(Manifest).where(condition).order_by(Manifest.id).limit(AT_ONCE)).all()


def _told(session: Session, rows: Sequence[Manifest], found: str, status: Status | None = None) -> int:
    if status is not None:
        session.execute(
            update(Manifest)
            .where(Manifest.id.in_([row.id for row in rows]))
            .values(status=status, updated_at=database_now(session))
            .execution_options(synchronize_session=False)
        )
    _noted(session, sorted({row.image_id for row in rows}), found)
    return len(rows)


def _noted(session: Session, image_ids: Sequence[str], found: str) -> int:
    now = database_now(session)
    for image_id in image_ids:
        add_event(session, image_id, EventKind.REPAIRED, now, {"found": found})
    if image_ids:
        serving.refresh_all(session, image_ids, now)
    return len(image_ids)
