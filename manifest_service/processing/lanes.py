"""Which entry a worker takes next, so that small images and large ones both come to their turn.

The queue has two lanes, one for small sources and one for large ones, each in the order in which its entries are due.
Between the lanes the entry that has been due longest goes first, except that a large one stands back for small ones

- while another large one is under way anywhere: of all workers at most one then begins a large image;
- while the worker owes them time: after a large image it first spends as long on small ones, if there are any.

And some workers take small ones only. Where a small image waits, therefore, no worker begins more than one large image
before it has worked as long on small ones; and a large image waits for what was due before it, for the one large image
that is under way, and for the time that its worker owes. A large image that has begun is never interrupted: a single
worker that is at one lets all others wait until it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from manifest_service.manifests.work_models import QueueEntry

CANDIDATES = 8
"""Due entries looked at in one claim: workers that race for the first go on to the next at once."""


class Preference(Enum):
    """What a worker takes where both lanes have something for it."""

    LONGEST_DUE = "longest due"
    SMALL_FIRST = "small first"
    SMALL_ONLY = "small only"


class Turns:
    """What one worker owes small images. All times in seconds."""

    def __init__(self, *, small_only: bool = False) -> None:
        """small_only: whether it never takes a large one."""
        self._small_only = small_only
        self._owed = 0.0

    @property
    def preference(self) -> Preference:
        """What the worker takes next."""
        if self._small_only:
            return Preference.SMALL_ONLY
        return Preference.SMALL_FIRST if self._owed > 0 else Preference.LONGEST_DUE

    def took(self, seconds: float, *, is_large: bool) -> None:
        """Count the time that an image took. What is owed is never more than what the last large one took."""
        self._owed = seconds if is_large else max(self._owed - seconds, 0.0)


def find_candidates(session: Session, preference: Preference, now: datetime) -> Sequence[QueueEntry]:
    """Entries to try to take, in this order. now: by the database's clock."""
    small = _due(session, now, is_large=False)
    if preference is Preference.SMALL_ONLY:
        return small
    large = _due(session, now, is_large=True)
    if not small or not large:
        return [*small, *large]
    # Asked after the large ones were read: whoever took one of them since has either changed the first, so that it is
    # not given to us, or is seen here. And only the first is tried, for the same reason.
    if preference is Preference.SMALL_FIRST or _is_large_under_way(session, now):
        return small
    return sorted([large[0], *small], key=lambda entry: entry.due_at)


def _due(session: Session, now: datetime, *, is_large: bool) -> Sequence[QueueEntry]:
    query = (
        select(QueueEntry)
        .where(QueueEntry.is_large == is_large, QueueEntry.due_at <= now)
        .order_by(QueueEntry.due_at, QueueEntry.manifest_id)
        .limit(CANDIDATES)
    )
    return session.scalars(query).all()


def _is_large_under_way(session: Session, now: datetime) -> bool:
    # In the index's order, or PostgreSQL reads the whole table while it has no statistics of it.
    held = (
        select(QueueEntry.manifest_id)
        .where(QueueEntry.is_large == True, QueueEntry.due_at > now, QueueEntry.lease.is_not(None))  # noqa: E712
        .order_by(QueueEntry.due_at)
        .limit(1)
    )
    return session.scalar(held) is not None
