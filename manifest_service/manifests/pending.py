"""Manifests that wait for a worker: their rows, and their entries in the queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import is_large
from manifest_service.manifests.work_models import QueueEntry


def add_manifest(  # noqa: PLR0913
    session: Session,
    image: Image,
    size: int | None,
    checksums: Mapping[str, str],
    now: datetime,
    *,
    request_id: str | None = None,
) -> Manifest:
    """Add the next revision, pending, with its queue entry. request_id: what asks for it."""
    newest = session.scalar(select(func.max(Manifest.revision)).where(Manifest.image_id == image.image_id))
    manifest = new_manifest(image, (newest or 0) + 1, size, checksums, now)
    session.add(manifest)
    session.flush()
    session.add(new_entry(manifest, now, request_id))
    if not _serves_ready(session, image):
        image.current_revision = manifest.revision
    return manifest


def new_manifest(
    image: Image, revision: int, size: int | None, checksums: Mapping[str, str], now: datetime
) -> Manifest:
    """A manifest that waits, in no session yet. size, checksums: of the source, as Glance recorded them."""
    return Manifest(
        image_id=image.image_id,
        revision=revision,
        status=Status.PENDING,
        expected_size=size,
        expected_checksums=dict(checksums),
        disk_format=image.disk_format,
        source_checksums={},
        warnings=[],
        created_at=now,
        updated_at=now,
    )


def new_entry(manifest: Manifest, now: datetime, request_id: str | None = None) -> QueueEntry:
    """The entry of a manifest that has its number, due at once, in no session yet. request_id: what asks for it."""
    return QueueEntry(
        manifest_id=manifest.id,
        image_id=manifest.image_id,
        is_large=is_large(manifest.expected_size),
        due_at=now,
        attempts=0,
        bytes_done=0,
        bytes_total=0,
        enqueued_at=now,
        request_id=request_id,
    )


def _serves_ready(session: Session, image: Image) -> bool:
    """Whether a ready manifest is served for the image: a newer revision replaces it only once it is ready itself."""
    status = session.scalar(
        select(Manifest.status).where(Manifest.image_id == image.image_id, Manifest.revision == image.current_revision)
    )
    return status == Status.READY
