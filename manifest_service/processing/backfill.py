"""Going through Glance's list: what it says of each image is an observation like any other, and is taken in where new.

So whoever missed a notification, or never had one, learns of the image here. What a list says counts as said when it
was asked for: between a list and a notification of the same second, the later one describes the image.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from manifest_service.images.glance_list import Cursor, ListFilter, Page
from manifest_service.images.glance_record import ImageRecord
from manifest_service.manifests import intake, listed
from manifest_service.manifests.database import Database
from manifest_service.manifests.listed import Standing
from manifest_service.manifests.values import ImageObservation
from manifest_service.processing.duties import KeptDuty
from manifest_service.processing.sharing import Sharing

NAME = "backfill"
MAX_SIZE = 2**63 - 1
"""Bytes; what the database's integers hold."""
UNREADABLE = "unreadable"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class ImageList(Protocol):
    """Glance's images."""

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        ...

    def read(self, cursor: Cursor, wanted: ListFilter) -> Page:
        """The page behind a cursor. Raises DownloadFailed."""
        ...

    def show(self, image_id: str) -> ImageRecord | None:
        """An image's record; None where Glance does not know it. Raises DownloadFailed."""
        ...

    def sees_everything(self) -> bool:
        """Whether an image that it does not show is not there. Raises DownloadFailed."""
        ...


@dataclass
class Tally:
    """What came of a walk, or of a part of it. skipped: reason → images."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count in another part."""
        self.seen += other.seen
        self.new += other.new
        self.changed += other.changed
        self.unchanged += other.unchanged
        self.skipped += other.skipped

    def as_json(self) -> dict[str, Any]:
        """For a database to keep, and for people to read."""
        figures = {"seen": self.seen, "new": self.new, "changed": self.changed, "unchanged": self.unchanged}
        return {**figures, "skipped": {reason: count for reason, count in sorted(self.skipped.items()) if count}}

    def count(self, standing: Standing, status: str | None) -> None:
        """Count one image. status: Glance's."""
        self.seen += 1
        match standing:
            case Standing.NEW:
                self.new += 1
            case Standing.CHANGED:
                self.changed += 1
            case Standing.UNCHANGED:
                self.unchanged += 1
            case Standing.WITHOUT_DATA:
                self.skipped[f"{standing} ({status})"] += 1
            case _:
                self.skipped[standing] += 1


@dataclass(frozen=True)
class Walked:
    """One page, taken in. cursor: where to go on; None at the end. image_ids: of all that were listed.

    revenants: what was listed though it counts as deleted here.
    """

    tally: Tally
    cursor: Cursor | None
    image_ids: frozenset[str]
    revenants: tuple[ImageObservation, ...]


class Walk:
    """Goes through Glance's list and takes in what is new."""

    def __init__(  # noqa: PLR0913
        self,
        database: Database,
        images: ImageList,
        wait: Callable[[float], object],
        *,
        rate: float = 0,
        dry_run: bool = False,
        sharing: Sharing | None = None,
    ) -> None:
        """wait: called with seconds to wait, 0 for none; what it raises ends the walk.

        rate: images a second, at most; 0 for no limit. dry_run: take nothing in, only say what would be. sharing: takes
        in with whom shared images are shared, at the price of a call to Glance for each.
        """
        self._database = database
        self._images = images
        self._wait = wait
        self._rate = rate
        self._dry_run = dry_run
        self._sharing = None if dry_run else sharing

    def pages(self, cursor: Cursor, wanted: ListFilter) -> Iterator[Walked]:
        """Each page in turn, taken in before it is given out. Raises DownloadFailed, DatabaseAway."""
        following: Cursor | None = cursor
        while following is not None:
            begun = time.monotonic()
            page = self._images.read(following, wanted)
            following = page.cursor
            yield self._take_in(page)
            asked = 0 if self._sharing is None else self._sharing.take_in(page.images)
            self.pace(len(page.images) + asked, time.monotonic() - begun)

    def pace(self, images: int, spent: float) -> None:
        """Wait as long as so many images should have taken. spent: seconds that they took."""
        self._wait(max(0.0, images / self._rate - spent) if self._rate else 0.0)

    def _take_in(self, page: Page) -> Walked:
        tally = Tally()
        tally.seen = tally.skipped[UNREADABLE] = len(page.unreadable)
        observations = []
        for record in page.images:
            seen = observation_of(record, page.asked_at)
            if seen is None:
                tally.seen += 1
                tally.skipped[UNREADABLE] += 1
            else:
                observations.append(seen)
        standings = self._database.transaction(lambda session: listed.compare(session, observations))
        for seen, standing in zip(observations, standings, strict=True):
            if standing in listed.NEWS and not self._dry_run:
                # Each in a transaction of its own, as from a listener: a conflict has one image done again, not a page.
                self._database.transaction(lambda session: intake.observe(session, seen))  # noqa: B023
            tally.count(standing, seen.status)
        return Walked(
            tally,
            page.cursor,
            frozenset([*page.unreadable, *(record.image_id for record in page.images)]),
            tuple(seen for seen, what in zip(observations, standings, strict=True) if what is Standing.DELETED),
        )


class Backfill:
    """A walk that goes on where it was broken off; one at a time, whichever process it is in."""

    name = NAME

    def __init__(self, walk: Callable[[KeptDuty], Walk], wanted: ListFilter, *, resume: bool) -> None:
        """walk: made once the duty is ours. resume: go on where a walk of the same images ended, if one did."""
        self._walk = walk
        self._wanted = wanted
        self._resume = resume
        self.tally = Tally()
        """Of what was walked so far."""
        self.resumed = False
        self.on_page: Callable[[Tally], object] = lambda _: None
        """Called with each page's part."""

    def run(self, kept: KeptDuty) -> Mapping[str, Any]:
        """Walk to the end. Raises DownloadFailed, DatabaseAway, and as `KeptDuty.check`."""
        asked = self._wanted.as_query()
        for page in self._walk(kept).pages(self._begin(kept.state, asked), self._wanted):
            self.tally.add(page.tally)
            self.on_page(page.tally)
            kept.save({} if page.cursor is None else {"asked": asked, "cursor": page.cursor.as_json()})
            kept.check()
        return self.tally.as_json()

    def _begin(self, state: Mapping[str, Any], asked: Mapping[str, str]) -> Cursor:
        try:
            if self._resume and state.get("asked") == asked:
                cursor = Cursor.from_json(state["cursor"])
                self.resumed = True
                return cursor
        except (KeyError, TypeError, ValueError):
            pass  # Nothing that we can read: begin at the beginning, which is only longer.
        return Cursor()


def observation_of(record: ImageRecord, asked_at: datetime) -> ImageObservation | None:
    """What a record says, as an observation; None for one that is not what Glance writes.

    asked_at: before Glance was asked for it.
    """
    try:
        image_id = str(UUID(record.image_id))
    except ValueError:
        return None
    if image_id != record.image_id or record.status is None or (record.size or 0) > MAX_SIZE:
        return None
    return ImageObservation(
        image_id=image_id,
        status=record.status,
        updated_at=max(record.updated_at or _BEGINNING, _BEGINNING),
        observed_at=asked_at,
        name=_storable(record.name),
        owner=_storable(record.owner),
        visibility=record.visibility,
        disk_format=record.disk_format,
        container_format=record.container_format,
        size=record.size,
        checksums=dict(record.checksums),
    )


def _storable(text: str | None) -> str | None:
    return None if text is None else _UNSTORABLE.sub("\ufffd", text)
