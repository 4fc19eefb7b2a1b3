"""The tables of work that is under way, and of the processes that share it; `models` has the others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, false
from sqlalchemy.orm import Mapped, mapped_column

from manifest_service.manifests.base import MARIADB, Base
from manifest_service.manifests.columns import UtcDateTime


class QueueEntry(Base):
    """A manifest that waits for a worker or is being computed by one. It goes when the manifest is final."""

    __tablename__ = "queue_entries"
    __table_args__ = (Index("ix_queue_entries_is_large_due_at", "is_large", "due_at", "manifest_id"), MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(36), index=True)
    is_large: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Which of two lanes it waits in, so that small ones need not wait for large ones; see `values.is_large`."""
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When a worker may take it: now for a new one, later after a failed attempt, the lease's end once taken."""
    attempts: Mapped[int] = mapped_column(Integer)
    lease: Mapped[str | None] = mapped_column(String(36))
    """Token of the claim that holds it. Whoever shows another token has lost it and may write nothing."""
    worker: Mapped[str | None] = mapped_column(String(255))
    bytes_done: Mapped[int] = mapped_column(BigInteger)
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    enqueued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Of the notification or call that asked for it: the worker's log lines carry it, too."""


class Duty(Base):
    """Work that one process does for all of them, now and then; whoever holds the lease does it."""

    __tablename__ = "duties"
    __table_args__ = (MARIADB,)

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    lease: Mapped[str | None] = mapped_column(String(36))
    """Token of the claim that holds it; None where nobody is at it."""
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    holder: Mapped[str | None] = mapped_column(String(255))
    """Who is at it, or was last."""
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What the next run goes on from."""
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the last run ended that was not broken off."""
    failed_runs: Mapped[int] = mapped_column(Integer)
    """In a row, up to the last one."""
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What came of the last run: figures, or `code` and `reason`."""


class Process(Base):
    """A running process of the service: it renews its row, and takes it away when it ends in good order."""

    __tablename__ = "processes"
    __table_args__ = (MARIADB,)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Made at its start."""
    command: Mapped[str] = mapped_column(String(32))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    parts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What runs in it, `listener`, `worker`, `api`, and how each is."""


class Scrub(Base):
    """When a ready manifest's source was last read again, and what was found."""

    __tablename__ = "scrubs"
    __table_args__ = (MARIADB,)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    scrubbed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    findings: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Place (`store`, `glance`) → what is not as it was; a finding that stands here is not reported again. With
    `suspected` it is not reported yet."""
