"""What Glance's list says, beside what is known here: which of it is news, and which images it lacks.

A list is mostly what is known already. Taking that in again would write every row, and call every image changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from manifest_service.manifests import ordering
from manifest_service.manifests.database import database_now
from manifest_service.manifests.models import Image
from manifest_service.manifests.values import ImageObservation


class Standing(StrEnum):
    """How a listed image stands here. The values are part of the commands' output."""

    NEW = "new"
    """Its data is there, and no manifest has been asked for: its upload was missed."""
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    WITHOUT_DATA = "without-data"
    """It is not known here, and there is nothing to compute yet."""
    DELETED = "deleted-here"
    """It counts as deleted here, though Glance lists it."""


NEWS = (Standing.NEW, Standing.CHANGED)


def compare(session: Session, listed: Sequence[ImageObservation]) -> list[Standing]:
    """How each of these images stands here."""
    rows = session.scalars(select(Image).where(Image.image_id.in_([seen.image_id for seen in listed])))
    known = {row.image_id: row for row in rows}
    now = database_now(session)
    return [_standing(known.get(seen.image_id), seen, now) for seen in listed]


def present(session: Session) -> set[str]:
    """The ids of all images of our own Glance that are not known to be deleted."""
    query = select(Image.image_id).where(Image.deleted_at.is_(None), Image.imported_at.is_(None))
    return set(session.scalars(query))


def _standing(image: Image | None, seen: ImageObservation, now: datetime) -> Standing:
    if image is not None and image.deleted_at is not None and image.imported_at is None:
        return Standing.DELETED
    if seen.holds_data and (image is None or image.imported_at is not None or image.current_revision is None):
        return Standing.NEW
    if image is None:
        return Standing.WITHOUT_DATA
    if image.imported_at is not None or _says_the_same(image, seen):
        return Standing.UNCHANGED
    is_news = ordering.is_newer(seen.order, image.observed_order, now)
    return Standing.CHANGED if is_news else Standing.UNCHANGED


def _says_the_same(image: Image, seen: ImageObservation) -> bool:
    """Whether the row says already what was listed; it may know more checksums than that."""
    columns = ("name", "owner", "visibility", "disk_format", "container_format", "size")
    return (
        image.glance_status == seen.status
        and all(getattr(image, column) == getattr(seen, column) for column in columns)
        and (image.checksums | dict(seen.checksums)) == image.checksums
    )
