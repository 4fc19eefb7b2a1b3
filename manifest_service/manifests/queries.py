"""Reading manifests for those who ask. Every query is answered from an index and bounded by its caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select
from sqlalchemy.orm import Session

from manifest_service.manifests.models import (
    Event,
    Image,
    Manifest,
    ManifestBlockMap,
    ManifestDigest,
    ManifestStatement,
    QueueEntry,
)
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import HistoryEvent, ManifestRecord, Progress


@dataclass(frozen=True)
class ManifestFilter:
    """Which images' current manifests to list; what is None is not asked for.

    digest: (algorithm, hex) of the disk. cache_name: the file's name in Nova's `_base`. since: last changed at or
    after this time, in UTC.
    """

    status: Status | None = None
    disk_format: str | None = None
    owner: str | None = None
    digest: tuple[str, str] | None = None
    cache_name: str | None = None
    since: datetime | None = None


class UnknownMarker(LookupError):
    """The marker of a page is no image that has been seen."""


def get_current(session: Session, image_id: str) -> ManifestRecord | None:
    """The manifest that is served for an image, or None where there is none (yet)."""
    return next(iter(_records(session, _current().where(Image.image_id == image_id))), None)


def get_newest(session: Session, image_id: str) -> ManifestRecord | None:
    """The newest revision of an image's manifest, be it served yet or not."""
    query = _joined(Manifest.image_id == Image.image_id).where(Image.image_id == image_id)
    return next(iter(_records(session, query.order_by(Manifest.revision.desc()).limit(1))), None)


def get_revision(session: Session, image_id: str, revision: int) -> ManifestRecord | None:
    """One revision of an image's manifest, whatever its state."""
    query = _joined(Manifest.image_id == Image.image_id).where(
        Image.image_id == image_id, Manifest.revision == revision
    )
    return next(iter(_records(session, query)), None)


def get_block_map(session: Session, image_id: str) -> str | None:
    """The block map of the manifest that is served for an image, as a bmap 2.0 document; None where it has none."""
    return session.scalar(
        select(ManifestBlockMap.document)
        .join(Manifest, Manifest.id == ManifestBlockMap.manifest_id)
        .join(Image, and_(Manifest.image_id == Image.image_id, Manifest.revision == Image.current_revision))
        .where(Image.image_id == image_id)
    )


def list_current(session: Session, wanted: ManifestFilter, limit: int, marker: str | None) -> list[ManifestRecord]:
    """One page of current manifests, the images seen last coming first.

    limit: most records to answer. marker: image id of the last record of the page before. Raises UnknownMarker.
    """
    query = _current().where(*_conditions(wanted)).order_by(Image.id.desc()).limit(limit)
    if marker is not None:
        last = session.scalar(select(Image.id).where(Image.image_id == marker))
        if last is None:
            raise UnknownMarker(marker)
        query = query.where(Image.id < last)
    return _records(session, query)


def find_by_image_ids(session: Session, image_ids: Sequence[str]) -> list[ManifestRecord]:
    """The current manifests of these images."""
    return _records(session, _current().where(Image.image_id.in_(image_ids)))


def find_by_cache_names(session: Session, cache_names: Sequence[str]) -> list[ManifestRecord]:
    """The current manifests of the images with these names in Nova's `_base`."""
    return _records(session, _current().where(Image.cache_name.in_(cache_names)))


def find_by_digests(session: Session, digests: Iterable[tuple[str, str]], limit: int) -> list[ManifestRecord]:
    """The current manifests whose disk has one of these (algorithm, hex) digests; at most `limit`, newest first."""
    having = exists().where(ManifestDigest.manifest_id == Manifest.id, _any_of(digests))
    return _records(session, _current().where(having).order_by(Image.id.desc()).limit(limit))


def known_digests(session: Session, digests: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these (algorithm, hex) digests that some manifest has."""
    found = session.execute(select(ManifestDigest.algorithm, ManifestDigest.value).where(_any_of(digests)).distinct())
    return {(algorithm, value) for algorithm, value in found}


def image_is_deleted(session: Session, image_id: str) -> bool | None:
    """Whether Glance has deleted the image; None where it has never been seen."""
    row = session.execute(select(Image.deleted_at).where(Image.image_id == image_id)).one_or_none()
    return None if row is None else row.deleted_at is not None


def list_history(session: Session, image_id: str, limit: int) -> list[HistoryEvent]:
    """The latest events of an image's life, oldest first."""
    latest = session.scalars(
        select(Event).where(Event.image_id == image_id).order_by(Event.id.desc()).limit(limit)
    ).all()
    return [HistoryEvent(event.kind, event.at, event.detail) for event in reversed(latest)]


def oldest_waiting(session: Session) -> datetime | None:
    """When the entry that has been in the queue longest came in; None for an empty queue."""
    return session.scalar(select(func.min(QueueEntry.enqueued_at)))


_Rows = Select[Image, Manifest, QueueEntry | None, int | None, str | None]


def _joined(image_to_manifest: ColumnElement[bool]) -> _Rows:
    return (
        select(Image, Manifest, QueueEntry, ManifestBlockMap.manifest_id, ManifestStatement.key_id)
        .join(Manifest, image_to_manifest)
        .outerjoin(QueueEntry, QueueEntry.manifest_id == Manifest.id)
        .outerjoin(ManifestBlockMap, ManifestBlockMap.manifest_id == Manifest.id)
        .outerjoin(ManifestStatement, ManifestStatement.manifest_id == Manifest.id)
    )


def _current() -> _Rows:
    return _joined(and_(Manifest.image_id == Image.image_id, Manifest.revision == Image.current_revision))


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


def _conditions(wanted: ManifestFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(Image.status == wanted.status)
    if wanted.disk_format is not None:
        conditions.append(Image.disk_format == wanted.disk_format)
    if wanted.owner is not None:
        conditions.append(Image.owner == wanted.owner)
    if wanted.cache_name is not None:
        conditions.append(Image.cache_name == wanted.cache_name)
    if wanted.since is not None:
        conditions.append(Image.changed_at >= wanted.since)
    if wanted.digest is not None:
        algorithm, value = wanted.digest
        conditions.append(
            exists().where(
                ManifestDigest.manifest_id == Manifest.id,
                ManifestDigest.algorithm == algorithm,
                ManifestDigest.value == value,
            )
        )
    return conditions


def _records(session: Session, query: _Rows) -> list[ManifestRecord]:
    """Run a query of joined rows, and fetch the digests of all of them in one more."""
    rows = session.execute(query).all()
    digests: dict[int, dict[str, str]] = {row.Manifest.id: {} for row in rows}
    if digests:
        for digest in session.scalars(select(ManifestDigest).where(ManifestDigest.manifest_id.in_(digests))):
            digests[digest.manifest_id][digest.algorithm] = digest.value
    return [
        _record(image, manifest, entry, digests[manifest.id], has_block_map=mapped is not None, key_id=key_id)
        for image, manifest, entry, mapped, key_id in rows
    ]


def _record(  # noqa: PLR0913
    image: Image,
    manifest: Manifest,
    entry: QueueEntry | None,
    digests: dict[str, str],
    *,
    has_block_map: bool,
    key_id: str | None,
) -> ManifestRecord:
    return ManifestRecord(
        image_id=image.image_id,
        revision=manifest.revision,
        status=Status.DELETED if image.deleted_at is not None else Status(manifest.status),
        name=image.name,
        owner=image.owner,
        visibility=image.visibility,
        container_format=image.container_format,
        cache_name=image.cache_name,
        disk_format=manifest.disk_format,
        code=manifest.code,
        reason=manifest.reason,
        virtual_size=manifest.virtual_size,
        digests=digests,
        source_size=manifest.source_size,
        source_checksums=manifest.source_checksums,
        warnings=tuple(manifest.warnings),
        has_block_map=has_block_map,
        key_id=key_id,
        progress=None if entry is None else Progress(entry.bytes_done, entry.bytes_total),
        created_at=manifest.created_at,
        computed_at=manifest.computed_at,
        computed_by=manifest.computed_by,
        changed_at=image.changed_at,
        deleted_at=image.deleted_at,
        imported_at=image.imported_at,
    )
