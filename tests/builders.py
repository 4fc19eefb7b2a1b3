"""Values that many tests need, each complete and different only where a test says so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from manifest_service.attestations.keys import PrivateKey
from manifest_service.manifests import history as history_of
from manifest_service.manifests import intake, queries
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import ComputedManifest, ImageObservation, ManifestRecord, Task
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing import queue

IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
MD5 = "d077c61681203ae001b4ebc4ddd38a4e"
SHA256 = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)


def observation(**changes: Any) -> ImageObservation:
    """An active qcow2 image, seen at noon."""
    seen = ImageObservation(
        image_id=IMAGE_ID,
        status="active",
        updated_at=NOON,
        observed_at=NOON,
        name="q1",
        visibility="shared",
        disk_format="qcow2",
        container_format="bare",
        size=2949120,
        checksums={"md5": MD5},
    )
    return replace(seen, **changes)


def computed(**changes: Any) -> ComputedManifest:
    """What a computation of that image finds."""
    found = ComputedManifest(
        disk_format="qcow2",
        virtual_size=25165824,
        digests={"sha256": SHA256},
        source_size=2949120,
        source_checksums={"md5": MD5},
    )
    return replace(found, **changes)


def observe(database: Database, *observations: ImageObservation) -> None:
    """Take in observations, each in a transaction of its own."""
    for seen in observations:
        database.transaction(lambda session: intake.observe(session, seen))  # noqa: B023


def claim(database: Database, worker: str = "w1", lease: timedelta = LEASE, max_attempts: int = 8) -> Task | None:
    """Claim the entry that is due longest."""
    return database.transaction(lambda session: queue.claim(session, worker, lease, max_attempts))


def claimed(database: Database) -> Task:
    """Claim an entry that must be there."""
    task = claim(database)
    assert task is not None
    return task


def finish(
    database: Database, task: Task, found: ComputedManifest | None = None, signer: PrivateKey | None = None
) -> bool:
    """Make a task's manifest ready, signed where there is a key to sign it with."""
    return database.transaction(
        lambda session: queue.finish_ready(session, task, found or computed(), "manifest-service 0.1.0", signer)
    )


def new_key() -> PrivateKey:
    """A key that no file has."""
    return PrivateKey(Ed25519PrivateKey.generate())


def current(database: Database, image_id: str = IMAGE_ID) -> ManifestRecord | None:
    """The manifest that is served for an image."""
    return database.transaction(lambda session: queries.get_current(session, EVERYTHING, image_id))


def history(database: Database, image_id: str = IMAGE_ID) -> list[str]:
    """The kinds of an image's events, oldest first."""
    events = database.transaction(lambda session: history_of.list_history(session, EVERYTHING, image_id, 100))
    return [event.kind for event in events]


def queued(database: Database) -> int:
    """Entries in the queue, those being computed included."""
    count = select(func.count()).select_from(QueueEntry)
    return database.transaction(lambda session: session.scalar(count) or 0)
