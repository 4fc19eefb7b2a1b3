"""Signed statements and the keys that they were signed with: making them, and reading them from the database."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import LargeBinary, func, select, type_coerce
from sqlalchemy.orm import Session

from manifest_service.attestations.envelope import sign
from manifest_service.attestations.keys import PrivateKey, PublicKey
from manifest_service.attestations.statement import Basis, DiskStatement, GlanceRecord, write_payload
from manifest_service.manifests.models import Image, Manifest, ManifestBlockMap, ManifestStatement, SigningKey
from manifest_service.manifests.values import ComputedManifest, ManifestRecord

_PIECE = 1 << 20
"""Bytes of a block map that are in memory at a time while it is hashed."""


@dataclass(frozen=True)
class KeptStatement:
    """A statement as it is kept.

    envelope: JSON text. key_id: of the key that it was signed with, as the row says. public_key: that key, PEM; None
    where no such key is registered.
    """

    envelope: str
    key_id: str
    public_key: str | None


@dataclass(frozen=True)
class RegisteredKey:
    """A key that statements were signed with.

    public_key: PEM. imported_at: when another site's statements brought it; None for a key of this site.
    """

    key_id: str
    public_key: str
    first_used_at: datetime
    imported_at: datetime | None


def state_computed(
    image: Image, revision: int, computed: ComputedManifest, computed_at: datetime, computed_by: str
) -> DiskStatement:
    """What a worker attests of the manifest that it has just computed: its own findings, not what a database says."""
    block_map = computed.block_map
    return DiskStatement(
        image_id=image.image_id,
        revision=revision,
        disk_format=computed.disk_format,
        virtual_size=computed.virtual_size,
        digests=dict(computed.digests),
        source_size=computed.source_size,
        source_digests=dict(computed.source_checksums),
        computed_at=computed_at,
        computed_by=computed_by,
        attested_at=computed_at,
        glance=GlanceRecord(image.name, image.owner, image.visibility, image.container_format),
        block_map_sha256=None if block_map is None else hashlib.sha256(block_map.encode()).hexdigest(),
        warnings=tuple(computed.warnings),
    )


def state_recorded(record: ManifestRecord, block_map_sha256: str | None, now: datetime) -> DiskStatement | None:
    """What can be attested of a ready manifest that is there already; None where it lacks what a statement needs."""
    if (
        record.disk_format is None
        or record.virtual_size is None
        or record.source_size is None
        or record.computed_at is None
        or record.computed_by is None
        or not record.digests
    ):
        return None
    return DiskStatement(
        image_id=record.image_id,
        revision=record.revision,
        disk_format=record.disk_format,
        virtual_size=record.virtual_size,
        digests=dict(record.digests),
        source_size=record.source_size,
        source_digests=dict(record.source_checksums),
        computed_at=record.computed_at,
        computed_by=record.computed_by,
        attested_at=now,
        basis=Basis.RECORD,
        glance=GlanceRecord(record.name, record.owner, record.visibility, record.container_format),
        block_map_sha256=block_map_sha256,
        warnings=record.warnings,
    )


def add(session: Session, manifest_id: int, stated: DiskStatement, key: PrivateKey, now: datetime) -> None:
    """Sign a statement and keep it, and register the key at its first use."""
    envelope = sign(write_payload(stated), key)
    session.add(ManifestStatement(manifest_id=manifest_id, key_id=key.public.key_id, envelope=envelope.as_text()))
    registered = session.get(SigningKey, key.public.key_id)
    if registered is None:
        # Two workers may do so at once: the second one's transaction meets the first one's row, and runs again.
        session.add(SigningKey(key_id=key.public.key_id, public_key=key.public.pem, first_used_at=now))
    elif registered.imported_at is not None:
        registered.imported_at, registered.first_used_at = None, now


def register_imported(session: Session, key: PublicKey, now: datetime) -> None:
    """Register a key of another site, whose statements this site takes in."""
    if session.get(SigningKey, key.key_id) is None:
        session.add(SigningKey(key_id=key.key_id, public_key=key.pem, first_used_at=now, imported_at=now))


def find(session: Session, manifest_ids: Iterable[int]) -> Mapping[int, KeptStatement]:
    """The statements of these manifests; those that have none are left out."""
    rows = session.execute(
        select(ManifestStatement.manifest_id, ManifestStatement.envelope, ManifestStatement.key_id)
        .add_columns(SigningKey.public_key)
        .outerjoin(SigningKey, SigningKey.key_id == ManifestStatement.key_id)
        .where(ManifestStatement.manifest_id.in_(list(manifest_ids)))
    )
    return {row.manifest_id: KeptStatement(row.envelope, row.key_id, row.public_key) for row in rows}


def list_keys(session: Session) -> list[RegisteredKey]:
    """All keys that statements were ever signed with, the oldest first. There are as many as there were rotations."""
    keys = session.scalars(select(SigningKey).order_by(SigningKey.first_used_at, SigningKey.key_id))
    return [_registered(key) for key in keys]


def get_key(session: Session, key_id: str) -> RegisteredKey | None:
    """One of these keys."""
    key = session.get(SigningKey, key_id)
    return None if key is None else _registered(key)


def _registered(key: SigningKey) -> RegisteredKey:
    return RegisteredKey(key.key_id, key.public_key, key.first_used_at, key.imported_at)


def count_by_key(session: Session) -> Mapping[str, int]:
    """How many statements name each key."""
    rows = session.execute(select(ManifestStatement.key_id, func.count()).group_by(ManifestStatement.key_id))
    return {key_id: number for key_id, number in rows}  # noqa: C416


def first_key_used_at(session: Session) -> datetime | None:
    """Since when statements have been made here; None where none ever was."""
    return session.scalar(select(func.min(SigningKey.first_used_at)).where(SigningKey.imported_at.is_(None)))


def block_map_sha256(session: Session, image_id: str, revision: int) -> str | None:
    """SHA-256 of a revision's block map in UTF-8; None where it has none, empty where it cannot be unpacked.

    It is unpacked piece by piece: somebody may have put another one there.
    """
    packed = session.scalar(
        select(type_coerce(ManifestBlockMap.document, LargeBinary))
        .join(Manifest, Manifest.id == ManifestBlockMap.manifest_id)
        .where(Manifest.image_id == image_id, Manifest.revision == revision)
    )
    if packed is None:
        return None
    digest, unpacking = hashlib.sha256(), zlib.decompressobj()
    try:
        while packed:
            digest.update(unpacking.decompress(packed, _PIECE))
            packed = unpacking.unconsumed_tail
        digest.update(unpacking.flush())
    except zlib.error:
        return ""
    return digest.hexdigest() if unpacking.eof else ""
