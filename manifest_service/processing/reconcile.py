"""Reconciling with Glance: uploads that were missed are queued, deletions marked, and what is stuck is freed.

To mark a deletion cannot be undone lightly, so it takes a whole walk in which the image was not listed, a token that
sees everything, one more question for the image alone, and a loss that is no larger than is believable.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oslo_log import log
from sqlalchemy.orm import Session

from manifest_service.images.glance_list import Cursor, ListFilter
from manifest_service.manifests import intake, listed, repairs
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import ImageObservation
from manifest_service.processing.backfill import ImageList, Tally, Walk, observation_of
from manifest_service.processing.duties import KeptDuty
from manifest_service.processing.sharing import Sharing

LOG = log.getLogger(__name__)

NAME = "reconcile"
FEW = 10
"""Known images of which all may be gone: a small cloud may delete what it has."""
NOT_ADMIN = "not-admin"
TOO_MANY_GONE = "too-many-gone"


@dataclass(frozen=True)
class ReconcileSettings:
    """How to reconcile. rate: images a second, 0 for no limit.

    largest_loss: percent of the images that were known, beyond which nothing is marked as deleted.
    """

    rate: float = 0
    largest_loss: float = 50


@dataclass
class Reconciled:
    """What came of one run, in figures. held_back: code of the reason why nothing was marked as deleted."""

    tally: Tally
    gone: int = 0
    deleted: int = 0
    restored: int = 0
    repaired: int = 0
    held_back: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For a database to keep, and for people to read."""
        names = ("gone", "deleted", "restored", "repaired", "held_back")
        return {**self.tally.as_json(), **{name: getattr(self, name) for name in names}}


class Reconcile:
    """The duty; `run` does it once."""

    name = NAME

    def __init__(
        self,
        database: Database,
        images: ImageList | None,
        settings: ReconcileSettings,
        sharing: Sharing | None = None,
    ) -> None:
        """images: Glance; without it, only what is stuck is freed. sharing: as for `Walk`."""
        self._database = database
        self._images = images
        self._settings = settings
        self._sharing = sharing

    def run(self, kept: KeptDuty) -> Mapping[str, Any]:
        """Walk, mark, free. Raises DownloadFailed, DatabaseAway, and as `KeptDuty.check`."""
        done = Reconciled(Tally())
        if self._images is not None:
            self._compare(kept, self._images, done)
        while count := self._database.transaction(repairs.repair):
            done.repaired += count
            kept.check()
        self._tell(kept, done)
        return done.as_json()

    def _compare(self, kept: KeptDuty, images: ImageList, done: Reconciled) -> None:
        known = self._database.transaction(listed.present)
        walk = Walk(self._database, images, kept.wait, rate=self._settings.rate, sharing=self._sharing)
        seen: set[str] = set()
        revenants: list[ImageObservation] = []
        for page in walk.pages(Cursor(), ListFilter()):
            done.tally.add(page.tally)
            seen |= page.image_ids
            revenants += page.revenants
        # From here on the walk was a whole one: whatever broke it off has been raised.
        done.gone = len(known - seen)
        done.held_back = self._why_not(images, done.gone, len(known)) if done.gone else None
        if done.held_back is None:
            self._mark_deleted(images, known - seen, walk, done)
        self._restore(images, revenants, walk, done)

    def _mark_deleted(self, images: ImageList, gone: Set[str], walk: Walk, done: Reconciled) -> None:
        for image_id in sorted(gone):
            begun = time.monotonic()
            if images.show(image_id) is None:
                done.deleted += self._database.transaction(
                    lambda session: intake.conclude_deleted(session, image_id, NAME)  # noqa: B023
                )
            walk.pace(1, time.monotonic() - begun)

    def _why_not(self, images: ImageList, gone: int, known: int) -> str | None:
        """Why nothing may be marked as deleted; None where it may be."""
        if not images.sees_everything():
            LOG.warning(
                "%d images are not in the list of %s, and are not marked as deleted (%s): the user of [glance] is no"
                " administrator there, and sees only some images. Give it the role `admin`",
                gone,
                images.place,
                NOT_ADMIN,
            )
            return NOT_ADMIN
        if known >= FEW and gone > known * self._settings.largest_loss / 100:
            LOG.warning(
                "%d of %d known images are not in the list of %s, more than [reconcile] largest_loss (%g %%), and none"
                " is marked as deleted (%s). Is this the right Glance, and is its database whole? If they were"
                " deleted, run `manifest-service reconcile --any-loss` once",
                gone,
                known,
                images.place,
                self._settings.largest_loss,
                TOO_MANY_GONE,
            )
            return TOO_MANY_GONE
        return None

    def _restore(self, images: ImageList, revenants: list[ImageObservation], walk: Walk, done: Reconciled) -> None:
        """Take back our own conclusions that were wrong. A list may be older than a deletion, so it is asked again."""
        for listed_before in revenants:
            begun = time.monotonic()
            asked_at = datetime.now(UTC)
            record = images.show(listed_before.image_id)
            seen = None if record is None else observation_of(record, asked_at)
            if seen is not None:
                done.restored += self._database.transaction(
                    lambda session: intake.restore(session, seen, NAME)  # noqa: B023
                )
            walk.pace(1, time.monotonic() - begun)

    def _tell(self, kept: KeptDuty, done: Reconciled) -> None:
        """Log what came of it; held back deletions go into the history, once for as long as they are."""
        before, now = kept.state.get("held_back"), done.held_back
        if now is not None and now != before:
            detail = {"code": now, "gone": done.gone}
            self._database.transaction(lambda session: _add_held_back(session, detail))
        if now != before:
            kept.save({**kept.state, "held_back": now})
        LOG.info(
            "reconciled with %s: %d images, %d new, %d changed, %d deleted, %d restored, %d freed",
            "itself alone" if self._images is None else self._images.place,
            done.tally.seen,
            done.tally.new,
            done.tally.changed,
            done.deleted,
            done.restored,
            done.repaired,
        )


def _add_held_back(session: Session, detail: Mapping[str, Any]) -> None:
    add_event(session, None, EventKind.DELETIONS_HELD_BACK, database_now(session), detail)
