"""With which projects images are shared. Every function works in the caller's transaction.

As with images, the state after a set of observations does not depend on their order: the newest one of each member
counts. One that was taken off keeps its row, so that an older message that comes late does not bring it back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from manifest_service.manifests import ordering
from manifest_service.manifests.database import database_now
from manifest_service.manifests.models import ImageMember


@dataclass(frozen=True)
class MemberObservation:
    """What one message says of a project that an image is shared with.

    member: the project's id. is_member: False where it was taken off. changed_at: by Glance's clock, in whole seconds;
    observed_at: when the message was made. Both are aware and in UTC.
    """

    image_id: str
    member: str
    is_member: bool
    changed_at: datetime
    observed_at: datetime

    @property
    def order(self) -> str:
        """Sorts all observations of a member from old to new. Of one second, the message that was made later counts."""
        observed = self.observed_at.isoformat(timespec="microseconds")
        return f"{self.changed_at.isoformat(timespec='seconds')}|{observed}|{self.is_member:d}"


def observe(session: Session, seen: MemberObservation) -> None:
    """Take in one observation."""
    row = session.get(ImageMember, (seen.image_id, seen.member))
    if row is None:
        session.add(
            ImageMember(image_id=seen.image_id, member=seen.member, is_member=seen.is_member, observed_order=seen.order)
        )
    elif ordering.is_newer(seen.order, row.observed_order, database_now(session)):
        row.is_member = seen.is_member
        row.observed_order = seen.order


def compare(
    session: Session, image_id: str, listed: Collection[str], asked_at: datetime
) -> Sequence[MemberObservation]:
    """What a whole list of an image's members says that is not known here.

    listed: the projects in it. asked_at: before Glance was asked for it; what was said later than that counts.
    """
    known = set(
        session.scalars(
            select(ImageMember.member).where(ImageMember.image_id == image_id, ImageMember.is_member == true())
        )
    )
    news = [(member, True) for member in sorted(set(listed) - known)]
    news += [(member, False) for member in sorted(known - set(listed))]
    return [MemberObservation(image_id, member, is_member, asked_at, asked_at) for member, is_member in news]
