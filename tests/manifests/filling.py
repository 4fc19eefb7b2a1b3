"""A database with many manifests, written past the service since computing them is not what is looked at."""

import hashlib
import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, update

from manifest_service.attestations.envelope import sign
from manifest_service.attestations.keys import PrivateKey
from manifest_service.attestations.statement import DiskStatement, write_payload
from manifest_service.manifests.database import Database
from manifest_service.manifests.intake import cache_name_of
from manifest_service.manifests.models import Image, Manifest, ManifestDigest, ManifestStatement
from manifest_service.manifests.statements import register_imported
from tests.builders import NOON

AT_ONCE = 5000
VERSION = "manifest-service 0.1.0"


def image_id_of(number: int) -> str:
    return str(uuid.UUID(hashlib.md5(f"image{number}".encode()).hexdigest()))


def sha256_of(number: int) -> str:
    return hashlib.sha256(f"disk{number}".encode()).hexdigest()


def fill(database: Database, first: int, last: int, signer: PrivateKey | None = None) -> None:
    """Add the ready manifests of images with these numbers; `last` is not among them."""
    for start in range(first, last, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, last))
        with database.engine.begin() as connection:
            connection.execute(insert(Image), [_image(number) for number in numbers])
            connection.execute(insert(Manifest), [_manifest(number) for number in numbers])
            connection.execute(
                insert(ManifestDigest),
                [{"manifest_id": number + 1, "algorithm": "sha256", "value": sha256_of(number)} for number in numbers],
            )
            if signer is not None:
                connection.execute(insert(ManifestStatement), [_statement(number, signer) for number in numbers])
    if signer is not None:
        database.transaction(lambda session: register_imported(session, signer.public, NOON))


def delete(database: Database, number: int) -> None:
    with database.engine.begin() as connection:
        connection.execute(
            update(Image).where(Image.image_id == image_id_of(number)).values(deleted_at=NOON, status="deleted")
        )


def _image(number: int) -> dict[str, Any]:
    return {
        "image_id": image_id_of(number),
        "cache_name": cache_name_of(image_id_of(number)),
        "name": f"image {number}",
        "owner": f"owner {number % 7}",
        "visibility": "shared",
        "disk_format": "qcow2",
        "container_format": "bare",
        "size": number,
        "checksums": {"md5": "d0" * 16},
        "glance_status": "active",
        "observed_order": "1",
        "current_revision": 1,
        "status": "ready",
        "first_seen_at": NOON,
        "changed_at": NOON + timedelta(seconds=number),
        "version": 1,
    }


def _manifest(number: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "image_id": image_id_of(number),
        "revision": 1,
        "status": "ready",
        "expected_size": number,
        "expected_checksums": {"md5": "d0" * 16},
        "disk_format": "qcow2",
        "virtual_size": number * 512,
        "source_size": number,
        "source_checksums": {"md5": "d0" * 16},
        "warnings": [],
        "created_at": NOON,
        "updated_at": NOON,
        "computed_at": NOON,
        "computed_by": VERSION,
    }


def _statement(number: int, signer: PrivateKey) -> dict[str, Any]:
    stated = DiskStatement(
        image_id=image_id_of(number),
        revision=1,
        disk_format="qcow2",
        virtual_size=number * 512,
        digests={"sha256": sha256_of(number)},
        source_size=number,
        source_digests={"md5": "d0" * 16},
        computed_at=NOON,
        computed_by=VERSION,
        attested_at=NOON,
    )
    envelope = sign(write_payload(stated), signer).as_text()
    return {"manifest_id": number + 1, "key_id": signer.public.key_id, "envelope": envelope}
