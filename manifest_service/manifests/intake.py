"""Taking in what the doors report of images. Every function works in the caller's transaction.

The state after a set of observations depends on the set alone, not on its order, nor on how often each arrives: the
newest observation describes the image, a deletion is for ever, and the first one that holds data asks for a manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from manifest_service.errors import ManifestServiceError
from manifest_service.manifests import serving
from manifest_service.manifests.database import database_now
from manifest_service.manifests.models import Event, Image, Manifest, QueueEntry
from manifest_service.manifests.states import UNFINISHED, EventKind, Status
from manifest_service.manifests.values import ImageObservation

MAX_REJECTION_TEXT = 1000
"""Characters kept of the sentence that an error-priority upload carries."""


class ImageUnknown(ManifestServiceError):
    """No such image has been seen."""


class ImageDeleted(ManifestServiceError):
    """Glance has deleted the image; what is known of it is kept for auditors."""


def cache_name_of(image_id: str) -> str:
    """The name of an image's file in Nova's `_base`: SHA-1 of its id in hex (nova.virt.libvirt.imagecache)."""
    return hashlib.sha1(image_id.encode(), usedforsecurity=False).hexdigest()


def observe(session: Session, seen: ImageObservation) -> None:
    """Take in one observation: update the image, and ask for a manifest where its data calls for one."""
    now = database_now(session)
    image = session.scalar(select(Image).where(Image.image_id == seen.image_id))
    is_newest = image is None or seen.order > image.observed_order
    if image is None:
        image = Image(
            image_id=seen.image_id, cache_name=cache_name_of(seen.image_id), first_seen_at=now, changed_at=now
        )
        session.add(image)
    if is_newest:
        _describe(image, seen)
    if seen.deleted and image.deleted_at is None:
        _mark_deleted(session, image, seen.deleted_at or seen.observed_at, now)
    session.flush()
    if seen.holds_data and image.deleted_at is None:
        _ask_for_manifest(session, image, seen, is_newest=is_newest, now=now)
    serving.refresh(session, image.image_id, now)


def record_rejected_upload(session: Session, text: str, message_id: str | None) -> None:
    """Record an upload that Glance rejected. Its notification carries a sentence and no image id."""
    if message_id is not None and session.scalar(select(Event.id).where(Event.message_id == message_id)):
        return
    detail = {"message": text[:MAX_REJECTION_TEXT]}
    add_event(session, None, EventKind.UPLOAD_REJECTED, database_now(session), detail, message_id=message_id)


def request_computation(session: Session, image_id: str) -> None:
    """Ask for a new revision of an image's manifest; nothing changes where one is waiting or under way already.

    Raises ImageUnknown, or ImageDeleted.
    """
    image = session.scalar(select(Image).where(Image.image_id == image_id))
    if image is None:
        raise ImageUnknown("not-found", f"no image {image_id} has been seen")
    if image.deleted_at is not None:
        raise ImageDeleted("image-deleted", f"image {image_id} was deleted in Glance")
    latest = _latest_manifest(session, image_id)
    if latest is not None and latest.status in UNFINISHED:
        return
    now = database_now(session)
    manifest = _add_manifest(session, image, image.size, image.checksums, now)
    add_event(session, image_id, EventKind.COMPUTATION_REQUESTED, now, {"revision": manifest.revision})
    serving.refresh(session, image_id, now)


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


def _describe(image: Image, seen: ImageObservation) -> None:
    """Have the row say what the newest observation says; a checksum once known is not lost to a message without it."""
    image.observed_order = seen.order
    image.name = seen.name
    image.owner = seen.owner
    image.visibility = seen.visibility
    image.disk_format = seen.disk_format
    image.container_format = seen.container_format
    image.size = seen.size
    image.checksums = dict(seen.checksums) or image.checksums or {}
    image.glance_status = seen.status


def _mark_deleted(session: Session, image: Image, deleted_at: datetime, now: datetime) -> None:
    """Take the image out of the queue for good. A worker that is at it notices at its next renewal."""
    image.deleted_at = deleted_at
    session.execute(delete(QueueEntry).where(QueueEntry.image_id == image.image_id))
    session.execute(
        update(Manifest)
        .where(Manifest.image_id == image.image_id, Manifest.status.in_(UNFINISHED))
        .values(status=Status.DELETED, updated_at=now)
    )
    add_event(session, image.image_id, EventKind.DELETED, now, {})


def _ask_for_manifest(
    session: Session, image: Image, seen: ImageObservation, *, is_newest: bool, now: datetime
) -> None:
    """Have a manifest for the data that was seen: the first revision, or another where the data is other data."""
    latest = _latest_manifest(session, image.image_id)
    if latest is None:
        _add_manifest(session, image, seen.size, seen.checksums, now)
        add_event(session, image.image_id, EventKind.UPLOADED, now, {"size": seen.size, **seen.checksums})
        return
    if not is_newest:
        return
    known = latest.source_checksums | latest.expected_checksums
    changed = _differs(seen.size, latest.expected_size) or any(
        _differs(value, known.get(algorithm)) for algorithm, value in seen.checksums.items()
    )
    if latest.status not in UNFINISHED:
        if changed:
            manifest = _add_manifest(session, image, seen.size, seen.checksums, now)
            image.current_revision = manifest.revision
    else:
        # Not computed yet: aim it at what is there now. A worker that is at it compares once more before it finishes.
        latest.expected_size = seen.size
        latest.expected_checksums = dict(seen.checksums) if changed else known | dict(seen.checksums)
    if changed:
        add_event(session, image.image_id, EventKind.CONTENT_CHANGED, now, {"size": seen.size, **seen.checksums})


def _differs(seen: object, known: object) -> bool:
    """Whether two values contradict each other; what is not known contradicts nothing."""
    return seen is not None and known is not None and seen != known


def _latest_manifest(session: Session, image_id: str) -> Manifest | None:
    return session.scalar(
        select(Manifest).where(Manifest.image_id == image_id).order_by(Manifest.revision.desc()).limit(1)
    )


def _add_manifest(
    session: Session, image: Image, size: int | None, checksums: Mapping[str, str], now: datetime
) -> Manifest:
    """Add the next revision, pending, with its queue entry."""
    newest = session.scalar(select(func.max(Manifest.revision)).where(Manifest.image_id == image.image_id))
    manifest = Manifest(
        image_id=image.image_id,
        revision=(newest or 0) + 1,
        status=Status.PENDING,
        expected_size=size,
        expected_checksums=dict(checksums),
        disk_format=image.disk_format,
        source_checksums={},
        warnings=[],
        created_at=now,
        updated_at=now,
    )
    session.add(manifest)
    session.flush()
    session.add(
        QueueEntry(
            manifest_id=manifest.id,
            image_id=image.image_id,
            due_at=now,
            attempts=0,
            bytes_done=0,
            bytes_total=0,
            enqueued_at=now,
        )
    )
    if not _serves_ready(session, image):
        image.current_revision = manifest.revision
    return manifest


def _serves_ready(session: Session, image: Image) -> bool:
    """Whether a ready manifest is served for the image: a newer revision replaces it only once it is ready itself."""
    status = session.scalar(
        select(Manifest.status).where(Manifest.image_id == image.image_id, Manifest.revision == image.current_revision)
    )
    return status == Status.READY
