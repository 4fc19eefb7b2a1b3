"""Glance's list of images, page by page: every visibility, hidden ones too, in the order in which they were created.

An image that is created while somebody goes through the list comes at its end, and one that is deleted meanwhile moves
no other. Glance lists hidden images only to those who ask for them alone, so there are two lists: the shown, then the
hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from manifest_service.disks.limits import MIB
from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.images.glance_api import AnswerTooLarge, GlanceApi
from manifest_service.images.glance_connection import GlanceAway
from manifest_service.images.glance_record import ImageRecord, read_members, read_record

Answer = TypeVar("Answer")

PAGE = 200
"""Images of one page that are asked for; Glance may give fewer ([DEFAULT] api_limit_max)."""
TRIES = 5
"""Times that a page is asked for while Glance is away."""
FIRST_PAUSE = 0.5
"""Seconds before the second try; twice as many before each further one."""
_LARGEST_PAGE = 64 * MIB
_LARGEST_ANSWER = 1 * MIB


@dataclass(frozen=True)
class ListFilter:
    """Which images to list; what is None is not asked for. since: last changed at or after this time, in UTC."""

    since: datetime | None = None
    owner: str | None = None
    visibility: str | None = None
    status: str | None = None
    disk_format: str | None = None

    def as_query(self) -> dict[str, str]:
        """Glance's own words for it."""
        asked = {"owner": self.owner, "status": self.status, "disk_format": self.disk_format}
        query = {name: value for name, value in asked.items() if value is not None}
        # Without a visibility, an administrator would be spared other projects' community images.
        query["visibility"] = self.visibility or "all"
        if self.since is not None:
            query["updated_at"] = f"gte:{_in_words(self.since)}"
        return query


@dataclass(frozen=True)
class Cursor:
    """How far somebody is in the list: behind the image `marker`, of those created at `begin` or later.

    last: when that image was created. It is what to go on from where Glance does not know the marker any more.
    """

    hidden: bool = False
    begin: datetime | None = None
    marker: str | None = None
    last: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """For a database to keep."""
        times = {
            name: None if at is None else _in_words(at) for name, at in (("begin", self.begin), ("last", self.last))
        }
        return {"hidden": self.hidden, "marker": self.marker, **times}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Cursor:
        """The cursor that was kept. Raises ValueError, KeyError or TypeError for what is none."""
        begin, last = (None if at is None else datetime.fromisoformat(at) for at in (kept["begin"], kept["last"]))
        return cls(bool(kept["hidden"]), begin, kept["marker"], last)


@dataclass(frozen=True)
class Page:
    """A part of the list.

    asked_at: before it was asked for, by our clock: what it says is no older. unreadable: ids of images whose records
    are not what Glance writes. cursor: where to go on; None at the end.
    """

    asked_at: datetime
    images: tuple[ImageRecord, ...]
    unreadable: tuple[str, ...]
    cursor: Cursor | None


class GlanceList:
    """The images of one Glance."""

    def __init__(self, glance: GlanceApi, wait: Callable[[float], object], page: int = PAGE) -> None:
        """wait: called with the seconds to wait before Glance is asked again; what it raises ends the reading."""
        self._glance = glance
        self._wait = wait
        self._page = page

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return self._glance.place

    def read(self, cursor: Cursor, wanted: ListFilter) -> Page:
        """Read the page behind a cursor. Raises DownloadFailed."""
        asked_at = datetime.now(UTC)
        try:
            document = self._ask(cursor, wanted)
        except GlanceAway:
            raise
        except DownloadFailed as error:
            if cursor.marker is None or cursor.last == cursor.begin or error.code != DownloadCode.BAD_ANSWER:
                raise
            # The marker was deleted meanwhile, and whoever is no administrator cannot begin behind it.
            cursor = Cursor(cursor.hidden, cursor.last)
            document = self._ask(cursor, wanted)
        entries = document.get("images") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(_has_id(entry) for entry in entries):
            raise _no_list(self.place)
        images, unreadable = [], []
        for entry in entries:
            try:
                images.append(read_record(entry))
            except (ValueError, OverflowError):
                unreadable.append(entry["id"])
        has_more = document.get("next") is not None and bool(entries)
        following = self._behind(cursor, entries, images, has_more=has_more)
        return Page(asked_at, tuple(images), tuple(unreadable), following)

    def show(self, image_id: str) -> ImageRecord | None:
        """An image's record; None where Glance does not know it, or hides it. Raises DownloadFailed."""
        try:
            return self._patiently(lambda: self._glance.show(image_id))
        except DownloadFailed as error:
            if error.code != DownloadCode.NOT_FOUND:
                raise
            return None

    def members(self, image_id: str) -> frozenset[str] | None:
        """The projects that an image is shared with; None where Glance does not say. Raises DownloadFailed."""
        path = f"/v2/images/{image_id}/members"
        try:
            document = self._patiently(lambda: self._glance.get_document(path, _LARGEST_ANSWER))
        except DownloadFailed as error:
            if error.code not in (DownloadCode.FORBIDDEN, DownloadCode.NOT_FOUND):
                raise
            return None  # It is gone, or not shared any more, or our token is no administrator's.
        try:
            return read_members(document)
        except ValueError:
            raise DownloadFailed(
                DownloadCode.BAD_ANSWER, f"{self.place} answered with something that is no list of members"
            ) from None

    def sees_everything(self) -> bool:
        """Whether our token is an administrator's, so that an image that it does not see is not there.

        Glance opens its list of tasks to nobody else (policy `tasks_api_access`). Raises DownloadFailed.
        """
        try:
            self._patiently(lambda: self._glance.get_document("/v2/tasks?limit=1", _LARGEST_ANSWER))
        except DownloadFailed as error:
            if error.code not in (DownloadCode.FORBIDDEN, DownloadCode.NOT_FOUND):
                raise
            return False
        return True

    def _ask(self, cursor: Cursor, wanted: ListFilter) -> Any:
        """The answer of a page; of fewer images where their records are so large: anybody may give his many MiB."""
        page = self._page
        while True:
            try:
                return self._ask_for(cursor, wanted, page)
            except AnswerTooLarge:
                if page == 1:
                    raise
                page = max(1, page // 8)

    def _ask_for(self, cursor: Cursor, wanted: ListFilter, page: int) -> Any:
        query = {
            "limit": str(page),
            "sort_key": "created_at",
            "sort_dir": "asc",
            "os_hidden": str(cursor.hidden).lower(),
            **wanted.as_query(),
        }
        if cursor.begin is not None:
            query["created_at"] = f"gte:{_in_words(cursor.begin)}"
        if cursor.marker is not None:
            query["marker"] = cursor.marker
        return self._patiently(lambda: self._glance.get_document(f"/v2/images?{urlencode(query)}", _LARGEST_PAGE))

    def _behind(
        self, cursor: Cursor, entries: list[Any], images: list[ImageRecord], *, has_more: bool
    ) -> Cursor | None:
        if not has_more:
            return None if cursor.hidden else Cursor(hidden=True)
        marker = entries[-1]["id"]
        if marker == cursor.marker:
            raise _no_list(self.place)  # It would lead round in a circle.
        last = images[-1].created_at if images and images[-1].image_id == marker else cursor.last
        return replace(cursor, marker=marker, last=last)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask, and ask again while Glance is away, with longer and longer pauses. Raises DownloadFailed."""
        for attempt in range(TRIES - 1):
            try:
                return ask()
            except GlanceAway:
                self._wait(FIRST_PAUSE * 2**attempt)
        return ask()


def _has_id(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str)


def _in_words(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_list(place: str) -> DownloadFailed:
    return DownloadFailed(DownloadCode.BAD_ANSWER, f"{place} answered with something that is no list of images")
