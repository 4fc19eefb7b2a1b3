"""Scrubbing: reading sources again, to find those that changed in the store or in Glance's own record.

An image's bytes never change under its id, Glance promises; whoever writes into its store, or into its database, breaks
that without a word. So sources are read again, those first that were read longest ago, within a budget of bytes a day
that all processes share, behind everybody else. What changed is told once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

from oslo_log import log
from sqlalchemy.orm import Session

from manifest_service.digests import algorithms as known
from manifest_service.digests.source_digests import HashedSource
from manifest_service.errors import ComputationFailed, DownloadCode, DownloadFailed, FailureCode
from manifest_service.images.glance_record import ImageRecord
from manifest_service.images.streams.forward import Recorded
from manifest_service.manifests import scrubbing
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.immutability import Content
from manifest_service.manifests.scrubbing import Candidate, Finding
from manifest_service.manifests.values import HOLDS_DATA
from manifest_service.processing.backfill import ImageList
from manifest_service.processing.computation import UNRECORDED_CHECKSUMS, ImageSources
from manifest_service.processing.duties import KeptDuty
from manifest_service.processing.low_priority import lower_priority

LOG = log.getLogger(__name__)

NAME = "scrub"
STORE, GLANCE = "store", "glance"
"""Places where a change shows: the bytes, and what Glance records of them."""
_CANDIDATES = 50
_DELETION = 900.0
"""Seconds after which what was missing is looked for again: longer than a store takes to delete the largest image."""
_LOOK = 0.5
"""Seconds."""


@dataclass(frozen=True)
class ScrubSettings:
    """How to scrub. bytes_per_day: budget of all processes together; None for none.

    rate: bytes a second, 0 for no limit. interval: seconds after which a source is read again, at the earliest.
    time_limit: seconds that reading one may take, beyond those that the rate alone asks for.
    """

    bytes_per_day: int | None
    rate: float
    interval: float
    time_limit: float = math.inf


@dataclass(frozen=True)
class Budget:
    """Bytes that were read on a day, those of an image counted before it is read.

    An image may be larger than what is left of a day: it is read, and what is too much is taken off the next days'.
    """

    day: date
    spent: int

    @classmethod
    def of(cls, state: Mapping[str, Any], today: date, bytes_per_day: int | None) -> Budget:
        """What is left of what was kept, on a day that may be a later one."""
        try:
            kept = cls(date.fromisoformat(state["day"]), int(state["spent"]))
        except (KeyError, TypeError, ValueError):
            return cls(today, 0)
        paid = (bytes_per_day or kept.spent) * max(0, (today - kept.day).days)
        return cls(today, max(0, kept.spent - paid))

    def allows(self, bytes_per_day: int | None) -> bool:
        """Whether another image may be begun."""
        return bytes_per_day is None or self.spent < bytes_per_day


class Scrub:
    """The duty; `run` reads what is due, as far as the budget goes."""

    name = NAME

    def __init__(
        self,
        database: Database,
        sources: ImageSources,
        images: ImageList | None,
        settings: ScrubSettings,
        image_id: str | None = None,
    ) -> None:
        """images: Glance; without it only the store is looked at. image_id: read this image alone, whenever it was."""
        self._database = database
        self._sources = sources
        self._images = images
        self._settings = settings
        self._image_id = image_id

    def run(self, kept: KeptDuty) -> Mapping[str, Any]:
        """Read what is due. Raises DownloadFailed, DatabaseAway, and as `KeptDuty.check`."""
        figures = {"images": 0, "bytes": 0, "changed": 0, "unreadable": 0}
        # In a thread of its own: a priority that was lowered cannot be raised again.
        reading = threading.Thread(target=lambda: broken.extend(_caught(lambda: self._read_all(kept, figures))))
        broken: list[BaseException] = []
        reading.start()
        while reading.is_alive():
            reading.join(_LOOK)  # With an end, so that a signal is noticed: only the main thread runs handlers.
        if broken:
            raise broken[0]
        return figures

    def _read_all(self, kept: KeptDuty, figures: dict[str, int]) -> None:
        lower_priority()
        tried: set[str] = set()
        while due := [each for each in self._database.transaction(self._due) if each.image_id not in tried]:
            for candidate in due:
                tried.add(candidate.image_id)
                kept.check()
                if not self._may_begin(kept):
                    return
                record, may_be_there = self._ask(candidate.image_id)
                if not may_be_there:
                    # Deleted, or about to change: a matter of reconciling. It must not stand before others for ever.
                    self._note(candidate, {}, (STORE, GLANCE))
                    continue
                self._charge(kept, candidate)
                self._scrub(kept, candidate, record, figures)
                totals = {name: int(kept.state.get(name, 0)) for name in ("images", "bytes")}
                totals = {"images": totals["images"] + 1, "bytes": totals["bytes"] + (candidate.read.size or 0)}
                kept.save({**kept.state, **totals})

    def _due(self, session: Session) -> list[Candidate]:
        if self._image_id is not None:
            candidate = scrubbing.of_image(session, self._image_id)
            return [] if candidate is None else [candidate]
        before = database_now(session) - timedelta(seconds=self._settings.interval)
        return scrubbing.next_due(session, before, _CANDIDATES)

    def _budget(self, kept: KeptDuty) -> Budget:
        today = self._database.transaction(database_now).astimezone(UTC).date()
        return Budget.of(kept.state, today, self._settings.bytes_per_day)

    def _may_begin(self, kept: KeptDuty) -> bool:
        """Whether the day's budget allows another image. An operator's own wish is not asked."""
        return self._image_id is not None or self._budget(kept).allows(self._settings.bytes_per_day)

    def _charge(self, kept: KeptDuty, candidate: Candidate) -> None:
        """Take an image's bytes off the budget."""
        budget = self._budget(kept)
        kept.save({**kept.state, "day": budget.day.isoformat(), "spent": budget.spent + (candidate.read.size or 0)})

    def _scrub(self, kept: KeptDuty, candidate: Candidate, record: ImageRecord | None, figures: dict[str, int]) -> None:
        """Read one source, and write down what was found."""
        findings: dict[str, Finding] = {}
        unseen = [GLANCE] if record is None else []
        is_readable = record is not None or self._images is None
        found = Content()
        try:
            found = self._read(kept, candidate, record)
            if differs := candidate.read.contradictions(found):
                findings[STORE] = Finding(differs)
        except ComputationFailed as error:
            LOG.warning("image %s cannot be read again: %s", candidate.image_id, error)
            is_readable = False
            unseen.append(STORE)
            # Glance deletes an image's data before it says so: for a while, who asks is told that it has them.
            is_missing = error.code == FailureCode.SOURCE_NOT_FOUND and self._still_has(candidate.image_id)
            if is_missing or error.code == FailureCode.SOURCE_MISMATCH:  # More or fewer bytes than there were.
                findings[STORE] = Finding({}, f"{error.code}: {error.reason}", may_pass=is_missing)
        if record is not None:
            trusted = Content() if STORE in findings else found
            if differs := contradicting_record(candidate, trusted, record):
                findings[GLANCE] = Finding(differs)
        figures["images"] += 1
        figures["unreadable"] += not is_readable
        figures["bytes"] += found.size or 0
        news = self._note(candidate, findings, unseen)
        figures["changed"] += bool(news)
        for place in news:
            LOG.error("image %s has changed (source-changed, %s): %s", candidate.image_id, place, findings[place])

    def _note(self, candidate: Candidate, findings: Mapping[str, Finding], unseen: Collection[str]) -> list[str]:
        forward = timedelta(seconds=max(0.0, self._settings.interval - _DELETION))
        return self._database.transaction(lambda session: scrubbing.note(session, candidate, findings, unseen, forward))

    def _read(self, kept: KeptDuty, candidate: Candidate, record: ImageRecord | None) -> Content:
        """Hash the source. Raises ComputationFailed, and as `KeptDuty.check`."""
        wanted = {*candidate.read.checksums, *(record.checksums if record is not None else {})}
        algorithms = sorted(wanted & set(known.flat())) or UNRECORDED_CHECKSUMS
        pace = _Pace(kept, self._settings, candidate.read.size or 0)
        recorded = Recorded(candidate.read.size, has_checksums=True)
        with self._sources.open(candidate.image_id, recorded, pace.check) as source:
            with HashedSource(source, algorithms, pace.tick) as hashed:
                checksums = hashed.finish()
                size = hashed.size
            source.verify_unchanged()
        return Content(size, checksums)

    def _ask(self, image_id: str) -> tuple[ImageRecord | None, bool]:
        """Glance's record of an image, and whether the data may be there. Raises DownloadFailed.

        The record is None where Glance knows no such image, where nobody can be asked, and where it cannot be read: one
        such record, which an image's owner can make, keeps neither its source nor any other from being read.
        """
        if self._images is None:
            return None, True
        try:
            record = self._images.show(image_id)
        except DownloadFailed as error:
            if error.code != DownloadCode.BAD_ANSWER:
                raise
            LOG.warning("Glance's record of image %s cannot be read: %s", image_id, error)
            return None, True
        return record, record is not None and record.status in HOLDS_DATA

    def _still_has(self, image_id: str) -> bool:
        """Whether Glance says that it has the data, so that it should be there."""
        record, may_be_there = self._ask(image_id)
        return record is not None and may_be_there


def contradicting_record(candidate: Candidate, found: Content, record: ImageRecord) -> dict[str, Any]:
    """Where Glance's record names other bytes than it did, or than those that are there.

    found: what the bytes are, where they are what they were.
    """
    checksums = {**found.checksums, **candidate.read.checksums, **candidate.recorded.checksums}
    before = Content(candidate.recorded.size if candidate.recorded.size is not None else candidate.read.size, checksums)
    return before.contradictions(Content(record.size, record.checksums))


class _Pace:
    """Holds a reader to so many bytes a second, a tick being one buffer of HashedSource; and ends one that hangs."""

    def __init__(self, kept: KeptDuty, settings: ScrubSettings, size: int) -> None:
        """size: bytes of the source."""
        self._kept = kept
        self._limit = settings.time_limit + (size / settings.rate if settings.rate else 0.0)
        self._seconds_each = (1 << 20) / settings.rate if settings.rate else 0.0
        self._next = time.monotonic()
        self._end = self._next + self._limit

    def check(self) -> None:
        """Time has gone by. Raises ComputationFailed (time-limit), and as `KeptDuty.check`."""
        self._kept.check()
        if time.monotonic() > self._end:
            reason = f"it was not read to its end within {self._limit:.0f} seconds"
            raise ComputationFailed(FailureCode.TIME_LIMIT, reason, retriable=True)

    def tick(self) -> None:
        self._kept.wait(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next, time.monotonic() - 1) + self._seconds_each
        self.check()


def _caught(work: Callable[[], None]) -> list[BaseException]:
    """What `work` raised, if it did, for another thread to raise."""
    try:
        work()
    except Exception as error:
        return [error]
    return []
