"""With which projects shared images are shared, as Glance says when it is asked: for messages that were missed.

Glance tells it of one image at a time, so that this costs a call for each shared image of a walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy.orm import Session

from manifest_service.images.glance_record import ImageRecord
from manifest_service.manifests import members
from manifest_service.manifests.database import Database

SHARED = "shared"


class MemberList(Protocol):
    """Glance's members of images."""

    def members(self, image_id: str) -> frozenset[str] | None:
        """The projects that an image is shared with; None where Glance does not say. Raises DownloadFailed."""
        ...


class Sharing:
    """Asks Glance for the members of images, and takes in what is new."""

    def __init__(self, database: Database, glance: MemberList) -> None:
        self._database = database
        self._glance = glance

    def take_in(self, images: Iterable[ImageRecord]) -> int:
        """Take in the members of those of these images that are shared; answers for how many Glance was asked.

        Raises DownloadFailed, DatabaseAway.
        """
        shared = [image.image_id for image in images if image.visibility == SHARED]
        for image_id in shared:
            asked_at = datetime.now(UTC)
            found = self._glance.members(image_id)
            if found is not None:
                self._database.transaction(
                    lambda session: _take_in(session, image_id, found, asked_at)  # noqa: B023
                )
        return len(shared)


def _take_in(session: Session, image_id: str, found: frozenset[str], asked_at: datetime) -> None:
    for seen in members.compare(session, image_id, found, asked_at):
        members.observe(session, seen)
