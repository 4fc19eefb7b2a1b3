"""Rows as records. Columns are selected, not entities: an entity takes SQLAlchemy three times as long to load."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, select
from sqlalchemy.orm import Session

from manifest_service.manifests import statements, tampering
from manifest_service.manifests.models import (
    Image,
    Manifest,
    ManifestBlockMap,
    ManifestDigest,
    ManifestStatement,
    SigningKey,
)
from manifest_service.manifests.statements import KeptStatement
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord, Progress
from manifest_service.manifests.visibility import Visibility, may_see
from manifest_service.manifests.work_models import QueueEntry

Rows = Select[Any]
"""Of all that a record is made of, except its digests and its statement."""

# The tables themselves: a statement that names no mapped class is spared the ORM's part of SQLAlchemy.
_image, _manifest, _entry = Image.__table__.c, Manifest.__table__.c, QueueEntry.__table__.c
_block_map, _digest = ManifestBlockMap.__table__.c, ManifestDigest.__table__.c
_statement, _key = ManifestStatement.__table__.c, SigningKey.__table__.c

SERVED = and_(_manifest.image_id == _image.image_id, _manifest.revision == _image.current_revision)
"""Joins an image to the revision that is served of it."""


def joined(image_to_manifest: ColumnElement[bool]) -> Rows:
    """Images with their manifests, to be narrowed down by the caller."""
    return (
        select(
            *(_image.image_id, _image.name, _image.owner, _image.visibility, _image.container_format),
            *(_image.cache_name, _image.changed_at, _image.deleted_at, _image.imported_at),
            *(_manifest.id.label("manifest_id"), _manifest.revision, _manifest.status, _manifest.code),
            *(_manifest.reason, _manifest.disk_format, _manifest.virtual_size, _manifest.source_size),
            *(_manifest.source_checksums, _manifest.warnings, _manifest.created_at, _manifest.computed_at),
            *(_manifest.computed_by, _entry.bytes_done, _entry.bytes_total),
            *(_block_map.manifest_id.label("mapped"), _statement.key_id),
        )
        .select_from(Image.__table__)
        .join(Manifest.__table__, image_to_manifest)
        .outerjoin(QueueEntry.__table__, _entry.manifest_id == _manifest.id)
        .outerjoin(ManifestBlockMap.__table__, _block_map.manifest_id == _manifest.id)
        .outerjoin(ManifestStatement.__table__, _statement.manifest_id == _manifest.id)
    )


# What nodes and auditors ask for all the time, in one statement that is made once: a row for each digest.
_SERVED_OF_IMAGE = (
    joined(SERVED)
    .add_columns(_digest.algorithm, _digest.value, _statement.envelope, _key.public_key)
    .outerjoin(ManifestDigest.__table__, _digest.manifest_id == _manifest.id)
    .outerjoin(SigningKey.__table__, _key.key_id == _statement.key_id)
    .where(_image.image_id == bindparam("image_id"))
)


def read_served(session: Session | Connection, seen_by: Visibility, image_id: str) -> ManifestRecord | None:
    """What is served of an image, checked against its statement; None where nothing is that this caller may see."""
    query = _SERVED_OF_IMAGE if seen_by.is_unlimited else _SERVED_OF_IMAGE.where(may_see(seen_by))
    rows = session.execute(query, {"image_id": image_id}).all()
    if not rows:
        return None
    first = rows[0]
    record = _record(first, {row.algorithm: row.value for row in rows if row.algorithm is not None})
    has_statement = first.envelope is not None
    kept = KeptStatement(first.envelope, first.key_id, first.public_key) if has_statement else None
    return tampering.checked(record, kept)


def read(session: Session, query: Rows) -> list[ManifestRecord]:
    """The records of rows, each checked against its statement, if it has one."""
    found = read_unchecked(session, query)
    kept = statements.find(session, [manifest_id for manifest_id, record in found if record.key_id is not None])
    return [tampering.checked(record, kept.get(manifest_id)) for manifest_id, record in found]


def read_unchecked(session: Session, query: Rows) -> list[tuple[int, ManifestRecord]]:
    """The records of rows as they are, by their manifest's number."""
    rows = session.execute(query).all()
    digests = _digests(session, [row.manifest_id for row in rows])
    return [(row.manifest_id, _record(row, digests[row.manifest_id])) for row in rows]


def _digests(session: Session, manifest_ids: Iterable[int]) -> Mapping[int, Mapping[str, str]]:
    digests: dict[int, dict[str, str]] = defaultdict(dict)
    query = select(_digest.manifest_id, _digest.algorithm, _digest.value)
    if wanted := list(manifest_ids):
        for manifest_id, algorithm, value in session.execute(query.where(_digest.manifest_id.in_(wanted))):
            digests[manifest_id][algorithm] = value
    return digests


def _record(row: Row[Any], digests: Mapping[str, str]) -> ManifestRecord:
    return ManifestRecord(
        image_id=row.image_id,
        revision=row.revision,
        status=Status.DELETED if row.deleted_at is not None else _status_of(row.status),
        name=row.name,
        owner=row.owner,
        visibility=row.visibility,
        container_format=row.container_format,
        cache_name=row.cache_name,
        disk_format=row.disk_format,
        code=row.code,
        reason=row.reason,
        virtual_size=row.virtual_size,
        digests=digests,
        source_size=row.source_size,
        source_checksums=row.source_checksums,
        warnings=tuple(row.warnings) if isinstance(row.warnings, list) else (row.warnings,),
        has_block_map=row.mapped is not None,
        key_id=row.key_id,
        progress=None if row.bytes_done is None else Progress(row.bytes_done, row.bytes_total),
        created_at=row.created_at,
        computed_at=row.computed_at,
        computed_by=row.computed_by,
        changed_at=row.changed_at,
        deleted_at=row.deleted_at,
        imported_at=row.imported_at,
    )


def _status_of(word: str) -> Status:
    """A word that is no status stands there only by somebody's hand; it must not keep others from being listed."""
    try:
        return Status(word)
    except ValueError:
        return Status.FAILED
