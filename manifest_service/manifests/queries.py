"""Reading manifests for those who ask. Every query is answered from an index and bounded by its caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    or_,
    select,
    union,
)
from sqlalchemy.orm import Session

from manifest_service.manifests.models import Image, Manifest, ManifestDigest, ManifestStatement
from manifest_service.manifests.records import SERVED, Rows, joined, read, read_served, read_unchecked
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import Visibility, may_see, ways_to_see


@dataclass(frozen=True)
class ManifestFilter:
    """Which images' current manifests to list; what is None is not asked for.

    digest: (algorithm, hex) of the disk. cache_name: the file's name in Nova's `_base`. since: last changed at or
    after this time, in UTC.
    """

    status: Status | None = None
    name: str | None = None
    disk_format: str | None = None
    owner: str | None = None
    digest: tuple[str, str] | None = None
    cache_name: str | None = None
    since: datetime | None = None


class SortKey(StrEnum):
    """What a list is sorted by. The values are part of the API."""

    CREATED_AT = "created_at"
    CHANGED_AT = "changed_at"


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by when an image was first seen, or by when it last changed."""

    key: SortKey = SortKey.CREATED_AT
    descending: bool = True

    def marker_of(self, record: ManifestRecord) -> str:
        """What a page that ends with this record is continued by. It holds the time, which may change meanwhile."""
        if self.key is SortKey.CREATED_AT:
            return record.image_id
        return f"{record.changed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}_{record.image_id}"


NEWEST_FIRST = Order()


_INDEXED = ("status", "name", "disk_format", "owner")
"""Columns of images that have an index in the order of first sight."""


class UnknownMarker(LookupError):
    """The marker of a page is none of a page in this order, or of an image that has not been seen."""


def get_current(session: Session | Connection, seen_by: Visibility, image_id: str) -> ManifestRecord | None:
    """The manifest that is served for an image, or None where there is none (yet)."""
    return read_served(session, seen_by, image_id)


def get_newest(session: Session, seen_by: Visibility, image_id: str) -> ManifestRecord | None:
    """The newest revision of an image's manifest, be it served yet or not."""
    query = joined(Manifest.image_id == Image.image_id).where(Image.image_id == image_id, may_see(seen_by))
    return next(iter(read(session, query.order_by(Manifest.revision.desc()).limit(1))), None)


def get_revision(session: Session, seen_by: Visibility, image_id: str, revision: int) -> ManifestRecord | None:
    """One revision of an image's manifest, whatever its state."""
    query = joined(Manifest.image_id == Image.image_id).where(
        Image.image_id == image_id, Manifest.revision == revision, may_see(seen_by)
    )
    return next(iter(read(session, query)), None)


def list_current(  # noqa: PLR0913, PLR0917
    session: Session,
    seen_by: Visibility,
    wanted: ManifestFilter,
    limit: int,
    marker: str | None,
    order: Order = NEWEST_FIRST,
) -> list[ManifestRecord]:
    """One page of current manifests.

    limit: most records to answer. marker: `order.marker_of` the last record of the page before. Raises UnknownMarker.
    """
    ordering = _ordering(Image.__table__.c, order)
    query = _narrowed(joined(SERVED), wanted).order_by(*ordering).limit(limit)
    if marker is not None:
        query = query.where(_behind(session, seen_by, marker, order))
    if not seen_by.is_unlimited:
        return _read_ways(session, seen_by, query, limit, order)
    if wanted.digest is not None:
        return _read_sorted(session, query, *ordering)
    return read(session, query if marker is None else _by_index(query, wanted, order))


def count_current(session: Session, seen_by: Visibility, wanted: ManifestFilter) -> int:
    """How many current manifests there are to list."""
    query = select(func.count()).select_from(Image).join(Manifest, SERVED).where(may_see(seen_by))
    return session.scalar(_narrowed(query, wanted)) or 0


def find_by_image_ids(session: Session, seen_by: Visibility, image_ids: Sequence[str]) -> list[ManifestRecord]:
    """The current manifests of these images."""
    if not image_ids:
        return []
    return read(session, joined(SERVED).where(Image.image_id.in_(image_ids), may_see(seen_by)))


def find_by_cache_names(session: Session, seen_by: Visibility, cache_names: Sequence[str]) -> list[ManifestRecord]:
    """The current manifests of the images with these names in Nova's `_base`."""
    if not cache_names:
        return []
    return read(session, joined(SERVED).where(Image.cache_name.in_(cache_names), may_see(seen_by)))


def find_by_digests(
    session: Session, seen_by: Visibility, digests: Sequence[tuple[str, str]], limit: int
) -> list[ManifestRecord]:
    """The current manifests whose disk has one of these (algorithm, hex) digests; at most `limit`, newest first."""
    if not digests:
        return []
    having = exists().where(ManifestDigest.manifest_id == Manifest.id, _any_of(digests))
    newest = Image.id.desc()
    query = joined(SERVED).where(having, may_see(seen_by))
    return _read_sorted(session, query.order_by(newest).limit(limit), newest)


def known_digests(session: Session, seen_by: Visibility, digests: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these (algorithm, hex) digests that some manifest has."""
    if not digests:
        return set()
    query = select(ManifestDigest.algorithm, ManifestDigest.value).where(_any_of(digests)).distinct()
    if not seen_by.is_unlimited:
        query = (
            query.join(Manifest, Manifest.id == ManifestDigest.manifest_id)
            .join(Image, Image.image_id == Manifest.image_id)
            .where(may_see(seen_by))
        )
    return {(algorithm, value) for algorithm, value in session.execute(query)}


def image_is_deleted(session: Session | Connection, seen_by: Visibility, image_id: str) -> bool | None:
    """Whether Glance has deleted the image; None where it has never been seen, or may not be seen by this caller."""
    query = select(Image.deleted_at).where(Image.image_id == image_id, may_see(seen_by))
    row = session.execute(query).one_or_none()
    return None if row is None else row.deleted_at is not None


def walk_unchecked(session: Session, after: int, limit: int) -> list[tuple[int, ManifestRecord]]:
    """A part of all revisions that are ready or have a statement, by their number, as the rows are.

    For those who check by themselves. after: number of the last one of the part before; 0 for the first.
    """
    query = joined(Manifest.image_id == Image.image_id).where(
        Manifest.id > after, or_(Manifest.status == Status.READY, ManifestStatement.key_id.is_not(None))
    )
    return read_unchecked(session, query.order_by(Manifest.id).limit(limit))


def _read_sorted(session: Session, query: Rows, *ordering: ColumnElement[Any]) -> list[ManifestRecord]:
    """The records of a query that has to sort what it finds: so many images may hold one disk.

    Their numbers alone are sorted, since MariaDB takes seconds to sort whole rows.
    """
    numbers = session.scalars(query.with_only_columns(Image.id)).all()
    return read(session, joined(SERVED).where(Image.id.in_(numbers)).order_by(*ordering)) if numbers else []


def _ordering(columns: Any, order: Order) -> list[ColumnElement[Any]]:
    """What sorts rows in this order. columns: `id` and `changed_at` among them, of the table or of a subquery."""
    names = ["id"] if order.key is SortKey.CREATED_AT else ["changed_at", "id"]
    return [columns[name].desc() if order.descending else columns[name].asc() for name in names]


def _read_ways(session: Session, seen_by: Visibility, query: Rows, limit: int, order: Order) -> list[ManifestRecord]:
    """The records of a page for who does not see everything: the first of those of each way in which it may see some.

    query: the page that who sees everything would get.
    """
    pages = (query.with_only_columns(Image.id, Image.changed_at).where(way).subquery() for way in ways_to_see(seen_by))
    found = union(*(select(page.c.id, page.c.changed_at) for page in pages)).subquery()
    numbers = session.scalars(select(found.c.id).order_by(*_ordering(found.c, order)).limit(limit)).all()
    ordering = _ordering(Image.__table__.c, order)
    return read(session, joined(SERVED).where(Image.id.in_(numbers)).order_by(*ordering)) if numbers else []


def _behind(session: Session, seen_by: Visibility, marker: str, order: Order) -> ColumnElement[bool]:
    """What comes behind a marker. Raises UnknownMarker."""
    time, _, image_id = marker.rpartition("_")
    if bool(time) != (order.key is SortKey.CHANGED_AT):
        raise UnknownMarker(marker)
    try:
        last = session.scalar(select(Image.id).where(Image.image_id == str(UUID(image_id)), may_see(seen_by)))
        at = datetime.fromisoformat(time) if time else None
    except ValueError as error:
        raise UnknownMarker(marker) from error
    if last is None:
        raise UnknownMarker(marker)
    behind = Image.id < last if order.descending else Image.id > last
    if at is None:
        return behind
    # Not a comparison of pairs: MariaDB would not answer that from the index.
    no_earlier = Image.changed_at <= at if order.descending else Image.changed_at >= at
    return and_(no_earlier, or_(Image.changed_at != at, behind))


def _by_index(query: Select[Any], wanted: ManifestFilter, order: Order) -> Select[Any]:
    """Tell MariaDB to begin at the marker: it would take a value that many images have, and read all before it."""
    asked = [name for name, value in vars(wanted).items() if value is not None]
    if order.key is SortKey.CREATED_AT and len(asked) == 1 and asked[0] in _INDEXED:
        return query.with_hint(Image.__table__, f"FORCE INDEX (ix_images_{asked[0]}_id)", "mysql")
    return query


def _any_of(digests: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Match any of these digests; one condition an algorithm, since SQLite bounds how deep a condition may be."""
    values: dict[str, list[str]] = {}
    for algorithm, value in digests:
        values.setdefault(algorithm, []).append(value)
    matches = (
        and_(ManifestDigest.algorithm == algorithm, ManifestDigest.value.in_(of_one))
        for algorithm, of_one in values.items()
    )
    return or_(false(), *matches)


def _narrowed(query: Select[Any], wanted: ManifestFilter) -> Select[Any]:
    """Only what is wanted, of images that are joined to their manifests."""
    if wanted.status is not None:
        query = query.where(Image.status == wanted.status)
    if wanted.name is not None:
        query = query.where(Image.name == wanted.name)
    if wanted.disk_format is not None:
        query = query.where(Image.disk_format == wanted.disk_format)
    if wanted.owner is not None:
        query = query.where(Image.owner == wanted.owner)
    if wanted.cache_name is not None:
        query = query.where(Image.cache_name == wanted.cache_name)
    if wanted.since is not None:
        query = query.where(Image.changed_at >= _seen_by_planner(wanted.since))
    if wanted.digest is not None:
        algorithm, value = wanted.digest
        of_digest = and_(
            ManifestDigest.manifest_id == Manifest.id,
            ManifestDigest.algorithm == algorithm,
            ManifestDigest.value == _seen_by_planner(value),
        )
        query = query.join(ManifestDigest, of_digest)  # which has one row at most
    return query


def _seen_by_planner(value: object) -> BindParameter[Any]:
    """A value that stands in the statement itself.

    PostgreSQL soon plans a statement that comes again and again without looking at its parameters. How many images have
    been changed since then, or hold that disk, decides between walking the list and sorting what is found.
    """
    return bindparam(None, value, literal_execute=True)
