"""Taking in what the doors report of images. Every function works in the caller's transaction.

The state after a set of observations depends on the set alone, not on its order, nor on how often each arrives: the
newest observation describes the image, a deletion is for ever, and the first one that holds data asks for a manifest.
(Of those whose times lie ahead that is not so: see `ordering`.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from oslo_log import log
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from manifest_service.errors import ManifestServiceError
from manifest_service.manifests import immutability, ordering, pending, serving
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.immutability import Content
from manifest_service.manifests.models import Event, Image, Manifest
from manifest_service.manifests.states import UNFINISHED, EventKind, Status
from manifest_service.manifests.values import ImageObservation, is_large
from manifest_service.manifests.work_models import QueueEntry

LOG = log.getLogger(__name__)

_NAMED_IMAGE = re.compile(r"\bimage ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
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
    observe_all(session, [seen])


def observe_all(session: Session, observations: Sequence[ImageObservation]) -> None:
    """Take in observations in their order, as `observe` does each, in a few statements for all of them."""
    now = database_now(session)
    for ahead in (seen for seen in observations if ordering.is_ahead(seen.order, now)):
        LOG.warning(
            "what is said of image %s has a time that lies ahead of the database's clock by more than %s, and gives way"
            " to whatever is said next. Are the clocks of Glance's hosts, of the database's and of this one right?",
            ahead.image_id,
            ordering.CLOCKS_APART,
        )
    image_ids = sorted({seen.image_id for seen in observations})
    images = {image.image_id: image for image in session.scalars(select(Image).where(Image.image_id.in_(image_ids)))}
    # After the images: whoever finishes a manifest from here on changes its image's version, and has this run again.
    latest = _latest_manifests(session, list(images))
    first: dict[str, ImageObservation] = {}
    others = [
        seen for seen in observations if seen.image_id in images or first.setdefault(seen.image_id, seen) is not seen
    ]
    for image, manifest in _take_in_new(session, [first[image_id] for image_id in sorted(first)], now):
        images[image.image_id] = image
        if manifest is not None:
            latest[image.image_id] = manifest
    for seen in others:
        found = _take_in_known(session, images[seen.image_id], latest.get(seen.image_id), seen, now)
        if found is not None:
            latest[seen.image_id] = found
    serving.refresh_all(session, image_ids, now)


def _take_in_new(
    session: Session, observations: Sequence[ImageObservation], now: datetime
) -> Sequence[tuple[Image, Manifest | None]]:
    """Add the images that these are the first to tell of, each with its first manifest where it has data."""
    made: list[tuple[Image, Manifest | None]] = []
    for seen in observations:
        image = Image(
            image_id=seen.image_id, cache_name=cache_name_of(seen.image_id), first_seen_at=now, changed_at=now
        )
        _describe(image, seen)
        session.add(image)
        manifest = None
        if seen.holds_data:
            manifest = pending.new_manifest(image, 1, seen.size, seen.checksums, now)
            image.current_revision = manifest.revision
        made.append((image, manifest))
    session.flush()
    manifests = [manifest for _, manifest in made if manifest is not None]
    session.add_all(manifests)
    session.flush()
    requests = {seen.image_id: seen.request_id for seen in observations}
    session.add_all(pending.new_entry(manifest, now, requests[manifest.image_id]) for manifest in manifests)
    for seen, (image, manifest) in zip(observations, made, strict=True):
        if seen.deleted:
            mark_deleted(session, image, _deleted_at(seen, now), now)
        elif manifest is not None:
            _add_uploaded(session, seen, now)
    return made


def _take_in_known(
    session: Session, image: Image, latest: Manifest | None, seen: ImageObservation, now: datetime
) -> Manifest | None:
    """Take in what is said of an image that has a row. latest: its latest manifest. Gives the latest one from now."""
    is_newest = ordering.is_newer(seen.order, image.observed_order, now)
    was_imported = image.imported_at is not None and (seen.holds_data or seen.deleted)
    if was_imported:
        image.imported_at = image.deleted_at = None  # It is our own Glance's from now on.
    if is_newest:
        _describe(image, seen)
    if seen.deleted and image.deleted_at is None:
        mark_deleted(session, image, _deleted_at(seen, now), now)
        return _latest_manifest(session, image.image_id)
    if not seen.holds_data or image.deleted_at is not None:
        return latest
    if latest is None or was_imported:
        session.flush()
        _add_uploaded(session, seen, now)
        return pending.add_manifest(session, image, seen.size, seen.checksums, now, request_id=seen.request_id)
    return _compare(session, image, latest, seen, now) if is_newest else latest


def conclude_deleted(session: Session, image_id: str, found_by: str) -> bool:
    """Mark an image as deleted that Glance does not have any more, though nobody said that it was deleted.

    found_by: who concluded it. Answers whether there was anything to mark: an image of another Glance is left alone.
    """
    image = session.scalar(select(Image).where(Image.image_id == image_id))
    if image is None or image.deleted_at is not None or image.imported_at is not None:
        return False
    now = database_now(session)
    mark_deleted(session, image, now, now, found_by)
    serving.refresh(session, image_id, now)
    return True


def restore(session: Session, seen: ImageObservation, found_by: str) -> bool:
    """Take back a conclusion that an image was deleted, for Glance has it after all. Answers whether it was one.

    found_by: who may have concluded it. A deletion that Glance itself announced stays: it gives no id away twice.
    """
    image = session.scalar(select(Image).where(Image.image_id == seen.image_id))
    if image is None or image.deleted_at is None or not _was_concluded(session, seen.image_id, found_by):
        return False
    now = database_now(session)
    image.deleted_at = None
    add_event(session, seen.image_id, EventKind.RESTORED, now, {"found_by": found_by})
    latest = _latest_manifest(session, seen.image_id)
    if latest is not None and latest.status == Status.DELETED:
        pending.add_manifest(session, image, seen.size, seen.checksums, now, request_id=seen.request_id)
    session.flush()
    observe(session, seen)
    return True


def _was_concluded(session: Session, image_id: str, found_by: str) -> bool:
    """Whether the image's last deletion is a conclusion of this one."""
    deletion = session.scalar(
        select(Event)
        .where(Event.image_id == image_id, Event.kind == EventKind.DELETED)
        .order_by(Event.id.desc())
        .limit(1)
    )
    return deletion is not None and deletion.detail.get("found_by") == found_by


def record_rejected_upload(session: Session, text: str, message_id: str | None) -> None:
    """Record an upload that Glance rejected. Its notification carries a sentence, which may name the image."""
    if message_id is not None and session.scalar(select(Event.id).where(Event.message_id == message_id)):
        return
    detail = {"message": text[:MAX_REJECTION_TEXT]}
    named = set(_NAMED_IMAGE.findall(text))
    image_id = named.pop() if len(named) == 1 else None
    add_event(session, image_id, EventKind.UPLOAD_REJECTED, database_now(session), detail, message_id=message_id)


def request_computation(session: Session, image_id: str, request_id: str | None = None) -> None:
    """Ask for a new revision of an image's manifest; nothing changes where one is waiting or under way already.

    request_id: of the call that asks, for logs and the history.
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
    manifest = pending.add_manifest(session, image, image.size, image.checksums, now, request_id=request_id)
    detail = {"revision": manifest.revision, **_asked_by(request_id)}
    add_event(session, image_id, EventKind.COMPUTATION_REQUESTED, now, detail)
    serving.refresh(session, image_id, now)


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


def mark_deleted(
    session: Session, image: Image, deleted_at: datetime, now: datetime, found_by: str | None = None
) -> None:
    """Take the image out of the queue for good. A worker that is at it notices at its next renewal.

    found_by: who concluded it; None where somebody said so.
    """
    image.deleted_at = deleted_at
    session.execute(delete(QueueEntry).where(QueueEntry.image_id == image.image_id))
    session.execute(
        update(Manifest)
        .where(Manifest.image_id == image.image_id, Manifest.status.in_(UNFINISHED))
        .values(status=Status.DELETED, code=None, reason=None, updated_at=now)
    )
    add_event(session, image.image_id, EventKind.DELETED, now, {} if found_by is None else {"found_by": found_by})


def _deleted_at(seen: ImageObservation, now: datetime) -> datetime:
    return ordering.not_ahead(seen.deleted_at or seen.observed_at, now)


def _add_uploaded(session: Session, seen: ImageObservation, now: datetime) -> None:
    detail = {"size": seen.size, **seen.checksums, **_asked_by(seen.request_id)}
    add_event(session, seen.image_id, EventKind.UPLOADED, now, detail)


def _asked_by(request_id: str | None) -> dict[str, str]:
    """What a line of history says of a request, so that the logs of all processes can be searched for it."""
    return {} if request_id is None else {"request_id": request_id}


def _compare(session: Session, image: Image, latest: Manifest, seen: ImageObservation, now: datetime) -> Manifest:
    """Have another manifest, or the waiting one aimed anew, where the data is other data. Gives the latest one."""
    known = latest.source_checksums | latest.expected_checksums
    changed = Content(latest.expected_size, known).contradictions(Content(seen.size, seen.checksums))
    if latest.status not in UNFINISHED:
        if changed:
            latest = pending.add_manifest(session, image, seen.size, seen.checksums, now, request_id=seen.request_id)
            image.current_revision = latest.revision
    elif changed or not _compares_already(latest):
        # Not computed yet: aim it at what is there now. A worker that is at it compares once more before it finishes.
        if is_large(seen.size) != is_large(latest.expected_size):
            session.execute(
                update(QueueEntry).where(QueueEntry.manifest_id == latest.id).values(is_large=is_large(seen.size))
            )
        latest.expected_size = seen.size
        latest.expected_checksums = dict(seen.checksums) if changed else known | dict(seen.checksums)
    if changed:
        detail = {"revision": latest.revision, "size": seen.size, **seen.checksums, **_asked_by(seen.request_id)}
        add_event(session, image.image_id, EventKind.RE_UPLOADED, now, detail)
        immutability.report(session, image.image_id, "glance", {"revision": latest.revision, "differs": changed}, now)
    return latest


def _compares_already(manifest: Manifest) -> bool:
    """Whether a computation is under way that compares with a checksum: one more need not have it start over."""
    return manifest.status == Status.COMPUTING and bool(manifest.expected_checksums)


def _latest_manifest(session: Session, image_id: str) -> Manifest | None:
    return _latest_manifests(session, [image_id]).get(image_id)


def _latest_manifests(session: Session, image_ids: Sequence[str]) -> dict[str, Manifest]:
    """The latest manifest of each of these images that has one."""
    if not image_ids:
        return {}
    query = select(Manifest).where(Manifest.image_id.in_(image_ids)).order_by(Manifest.revision)
    # The last of each image stays. One image has few.
    return {manifest.image_id: manifest for manifest in session.scalars(query)}
