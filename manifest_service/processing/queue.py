"""The queue: manifests that wait for a worker, each held by at most one through a lease.

A claim is a compare-and-swap on the entry's lease, so it holds on PostgreSQL, MariaDB and SQLite alike. `due_at` is the
one clock hand: when a new entry may be taken, when a failed one may be tried again, and when a held one's lease ends.
All times are the database's own, so that a host whose clock jumps takes nothing from others.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update, delete, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from manifest_service import logs
from manifest_service.attestations.keys import PrivateKey
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, ManifestServiceError
from manifest_service.manifests import immutability, serving, statements
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.immutability import Content
from manifest_service.manifests.models import Image, Manifest, ManifestBlockMap, ManifestDigest
from manifest_service.manifests.states import EventKind, Status
from manifest_service.manifests.values import ComputedManifest, Progress, Task
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing import lanes
from manifest_service.processing.lanes import Preference
from manifest_service.shown import counted

MAX_RETRY_DELAY = timedelta(hours=1)


class LeaseLost(Exception):
    """The entry is no longer held under this lease: it ran out and another worker has it, or the image was deleted."""


def claim(
    session: Session,
    worker: str,
    lease: timedelta,
    max_attempts: int,
    preference: Preference = Preference.LONGEST_DUE,
) -> Task | None:
    """Take the entry whose turn it is, if there is one: the one that has been due longest, but see `lanes`.

    worker: who asks, for people to read. lease: how long the claim holds unless renewed. max_attempts: an entry that
    was taken as often as this and never came back (its workers died) is failed here instead of being taken again.
    preference: which lane goes first.
    """
    now = database_now(session)
    for entry in lanes.find_candidates(session, preference, now):
        token = str(uuid.uuid4())
        taken = _changed_rows(
            session,
            update(QueueEntry)
            .where(
                QueueEntry.manifest_id == entry.manifest_id,
                QueueEntry.lease.is_(None) if entry.lease is None else QueueEntry.lease == entry.lease,
                QueueEntry.due_at == entry.due_at,
            )
            .values(
                lease=token,
                worker=worker,
                due_at=now + lease,
                attempts=entry.attempts + 1,
                bytes_done=0,
                bytes_total=0,
            ),
        )
        if taken != 1:
            continue
        if entry.attempts >= max_attempts:
            _finish_lost(session, entry, now)
            continue
        return _begin(session, entry, token, worker, now)
    return None


def renew(session: Session, task: Task, lease: timedelta, progress: Progress) -> None:
    """Hold the entry for another lease and let people see how far it is. Raises LeaseLost."""
    now = database_now(session)
    _update_held(session, task, due_at=now + lease, bytes_done=progress.done, bytes_total=progress.total)


def finish_ready(
    session: Session, task: Task, computed: ComputedManifest, computed_by: str, signer: PrivateKey | None = None
) -> bool:
    """Make the manifest ready and serve it, all in the caller's transaction. Raises LeaseLost.

    signer: the key that its statement is signed with; without one, it has no statement.
    Answers False where Glance has meanwhile reported other data than was computed: the entry then starts over.
    """
    now = database_now(session)
    manifest, image = _load_held(session, task)
    found = Content(computed.source_size, computed.source_checksums)
    if _expects_other_data(manifest, task) and not _is_expected(manifest, found):
        give_back(session, task)
        return False
    _close_entry(session, task)
    manifest.status = Status.READY
    manifest.code = manifest.reason = None
    manifest.disk_format = computed.disk_format
    manifest.virtual_size = computed.virtual_size
    manifest.source_size = computed.source_size
    manifest.source_checksums = dict(computed.source_checksums)
    manifest.warnings = list(computed.warnings)
    manifest.computed_at = manifest.updated_at = now
    manifest.computed_by = computed_by
    for algorithm, value in computed.digests.items():
        session.add(ManifestDigest(manifest_id=manifest.id, algorithm=algorithm, value=value))
    if computed.block_map is not None:
        session.add(ManifestBlockMap(manifest_id=manifest.id, document=computed.block_map))
    if signer is not None:
        stated = statements.state_computed(image, manifest.revision, computed, now, computed_by)
        statements.add(session, manifest.id, stated, signer, now)
    image.current_revision = max(manifest.revision, image.current_revision or 0)
    _conflict_with_intake(image)
    detail = {"revision": manifest.revision, "attempt": task.attempt, "digests": dict(computed.digests)}
    if computed.read_from is not None:
        detail["read_from"] = computed.read_from
    add_event(session, task.image_id, EventKind.READY, now, detail)
    immutability.report_other_bytes(session, manifest, found, "the bytes are not those of the revision before", now)
    serving.refresh(session, task.image_id, now)
    return True


def finish_without(session: Session, task: Task, error: ManifestServiceError) -> bool:
    """Make the manifest `refused` or `failed` for good, with the error's code and sentence. Raises LeaseLost.

    Answers False as `finish_ready` does.
    """
    now = database_now(session)
    manifest, image = _load_held(session, task)
    if _expects_other_data(manifest, task):
        give_back(session, task)
        return False
    _close_entry(session, task)
    if error.code == FailureCode.SOURCE_MISMATCH:
        immutability.report_other_bytes(session, manifest, None, error.reason, now)
    _end_without(session, manifest, error, now)
    _conflict_with_intake(image)
    return True


def retry_later(session: Session, task: Task, error: ManifestServiceError, delay: timedelta) -> None:
    """Put the entry back after a failed attempt. Raises LeaseLost.

    delay: before the second attempt; it doubles with each further one, up to MAX_RETRY_DELAY.
    """
    now = database_now(session)
    wait = min(delay * 2 ** min(task.attempt - 1, 20), MAX_RETRY_DELAY)
    _update_held(session, task, due_at=now + wait, lease=None, worker=None)
    _set_pending(session, task, now, code=error.code, reason=error.reason)
    detail = {
        "code": error.code,
        "reason": error.reason,
        "attempt": task.attempt,
        "retry_in": wait.total_seconds(),
    }
    add_event(session, task.image_id, EventKind.COMPUTATION_RETRIED, now, detail)


def give_back(session: Session, task: Task) -> None:
    """Put the entry back for anybody to take at once, the attempt uncounted: a worker was asked to stop.

    Raises LeaseLost.
    """
    now = database_now(session)
    _update_held(session, task, due_at=now, lease=None, worker=None, attempts=task.attempt - 1)
    _set_pending(session, task, now)
    add_event(session, task.image_id, EventKind.COMPUTATION_RETURNED, now, {"revision": task.revision})


def _begin(session: Session, entry: QueueEntry, token: str, worker: str, now: datetime) -> Task:
    """Turn a fresh claim into a task, and say in the manifest and the history that it is under way."""
    manifest = session.get_one(Manifest, entry.manifest_id)
    image = session.scalars(select(Image).where(Image.image_id == entry.image_id)).one()
    manifest.status = Status.COMPUTING
    manifest.updated_at = now
    attempt = entry.attempts + 1
    detail = {"revision": manifest.revision, "attempt": attempt, "worker": worker}
    add_event(session, entry.image_id, EventKind.COMPUTATION_STARTED, now, detail)
    serving.refresh(session, entry.image_id, now)
    return Task(
        manifest_id=manifest.id,
        image_id=entry.image_id,
        revision=manifest.revision,
        lease=token,
        attempt=attempt,
        is_large=entry.is_large,
        disk_format=image.disk_format,
        container_format=image.container_format,
        expected_size=manifest.expected_size,
        expected_checksums=dict(manifest.expected_checksums),
        request_id=logs.choose_request_id(entry.request_id),
    )


def _finish_lost(session: Session, entry: QueueEntry, now: datetime) -> None:
    """Fail an entry that took all its attempts with it."""
    manifest = session.get_one(Manifest, entry.manifest_id)
    reason = f"{counted(entry.attempts, 'worker')} took this image and none came back"
    session.execute(delete(QueueEntry).where(QueueEntry.manifest_id == entry.manifest_id))
    _end_without(session, manifest, ComputationFailed(FailureCode.WORKER_LOST, reason, retriable=False), now)


def _end_without(session: Session, manifest: Manifest, error: ManifestServiceError, now: datetime) -> None:
    refused = isinstance(error, ImageRefused)
    manifest.status = Status.REFUSED if refused else Status.FAILED
    manifest.code = error.code
    manifest.reason = error.reason
    manifest.updated_at = now
    detail = {"revision": manifest.revision, "code": error.code, "reason": error.reason}
    add_event(session, manifest.image_id, EventKind.REFUSED if refused else EventKind.FAILED, now, detail)
    serving.refresh(session, manifest.image_id, now)


def _expects_other_data(manifest: Manifest, task: Task) -> bool:
    """Whether Glance has reported other data since the claim."""
    return (manifest.expected_size, manifest.expected_checksums) != (task.expected_size, dict(task.expected_checksums))


def _is_expected(manifest: Manifest, found: Content) -> bool:
    """Whether what was read is what Glance has reported since the claim: a checksum that came late, say."""
    expected = immutability.expected_content(manifest)
    in_common = set(expected.checksums) & set(found.checksums)
    return bool(in_common) and not expected.contradictions(found)


def _conflict_with_intake(image: Image) -> None:
    """Write the image row even where nothing differs: a notification taken in at this moment must run again."""
    flag_modified(image, "current_revision")


def _load_held(session: Session, task: Task) -> tuple[Manifest, Image]:
    manifest = session.get(Manifest, task.manifest_id)
    image = session.scalar(select(Image).where(Image.image_id == task.image_id))
    if manifest is None or image is None:
        raise LeaseLost(task.image_id)
    return manifest, image


def _close_entry(session: Session, task: Task) -> None:
    """Take the entry out, if it is still ours: this is what keeps two workers from both finishing."""
    held = delete(QueueEntry).where(QueueEntry.manifest_id == task.manifest_id, QueueEntry.lease == task.lease)
    if _changed_rows(session, held) != 1:
        raise LeaseLost(task.image_id)


def _update_held(session: Session, task: Task, **values: object) -> None:
    held = update(QueueEntry).where(QueueEntry.manifest_id == task.manifest_id, QueueEntry.lease == task.lease)
    if _changed_rows(session, held.values(**values)) != 1:
        raise LeaseLost(task.image_id)


def _changed_rows(session: Session, statement: Update | Delete) -> int:
    """Run a compare-and-swap and say how many rows it met; rows already loaded keep what they were read as."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    return cast(CursorResult[Any], result).rowcount


def _set_pending(
    session: Session, task: Task, now: datetime, code: str | None = None, reason: str | None = None
) -> None:
    session.execute(
        update(Manifest)
        .where(Manifest.id == task.manifest_id)
        .values(status=Status.PENDING, updated_at=now, code=code, reason=reason)
    )
    serving.refresh(session, task.image_id, now)
