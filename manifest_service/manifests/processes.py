"""The processes of the service, on all hosts: each says now and then that it lives, and what of it does not work.

All times are the database's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from manifest_service.manifests.database import database_now
from manifest_service.manifests.work_models import Process

RENEWAL = timedelta(seconds=10)
"""From one sign of life to the next."""
SILENCE = 3 * RENEWAL
"""After which a process counts as dead."""
FORGOTTEN = timedelta(hours=1)
"""After which a dead one is not shown any more."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process. id: made at its start. command: what it was started as. parts: what runs in it → how that is.

    lives: whether it was heard of lately. Times are in UTC.
    """

    id: str
    command: str
    host: str
    pid: int
    version: str
    parts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    started_at: datetime | None = None
    seen_at: datetime | None = None
    lives: bool = True


def renew(session: Session, process: ProcessRecord) -> None:
    """Say that a process lives, and forget those that have been silent for long."""
    now = database_now(session)
    session.execute(delete(Process).where(Process.seen_at < now - FORGOTTEN))
    row = session.get(Process, process.id)
    if row is None:
        row = Process(id=process.id, started_at=now)
        session.add(row)
    row.command, row.host, row.pid = process.command, process.host, process.pid
    row.version, row.seen_at = process.version, now
    row.parts = {name: dict(part) for name, part in process.parts.items()}


def withdraw(session: Session, process_id: str) -> None:
    """Take a process out of the list: it ends in good order."""
    session.execute(delete(Process).where(Process.id == process_id))


def list_processes(session: Session, now: datetime) -> list[ProcessRecord]:
    """All processes that were heard of within the last hour. now: by the database's clock."""
    rows = session.scalars(select(Process).order_by(Process.host, Process.pid, Process.id))
    return [
        ProcessRecord(
            id=row.id,
            command=row.command,
            host=row.host,
            pid=row.pid,
            version=row.version,
            parts=row.parts,
            started_at=row.started_at,
            seen_at=row.seen_at,
            lives=now - row.seen_at < SILENCE,
        )
        for row in rows
    ]
