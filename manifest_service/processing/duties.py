"""Duties: work that one process does for all of them, now and then, such as reconciling with Glance.

Any number of processes ask for a duty; a lease, kept by a compare-and-swap as the queue's are, gives it to one. Whoever
dies at it loses the lease, and another goes on from the state that was kept. All times are the database's own.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from oslo_log import log
from sqlalchemy import CursorResult, Update, select, update
from sqlalchemy.orm import Session

from manifest_service.errors import ManifestServiceError
from manifest_service.manifests.database import Database, DatabaseAway, database_now
from manifest_service.manifests.work_models import Duty
from manifest_service.processing.lease import RENEWALS_PER_LEASE, Renewal, StopAsked

LOG = log.getLogger(__name__)

FIRST_RETRY = timedelta(seconds=30)
"""Before a duty whose run failed is tried again; doubled with each further failure, up to its own interval."""
INTERNAL_ERROR = "internal-error"


class DutyLost(Exception):
    """The lease ran out, and another process is at the duty."""


@dataclass(frozen=True)
class Claim:
    """A duty that is ours. lease: token of the claim. state: what the run before has kept."""

    name: str
    lease: str
    state: Mapping[str, Any]


@dataclass(frozen=True)
class DutyRecord:
    """How a duty stands. ended_at: of the last run that was not broken off, in UTC. outcome: of that run."""

    name: str
    holder: str | None
    is_held: bool
    ended_at: datetime | None
    failed_runs: int
    outcome: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


def claim(session: Session, name: str, holder: str, lease: timedelta, interval: timedelta) -> Claim | None:
    """Take a duty, if it is due and nobody is at it.

    holder: who asks, for people to read. lease: how long the claim holds unless renewed. interval: since the end of
    the last run, after which it is due.
    """
    now = database_now(session)
    row = session.get(Duty, name)
    if row is None:
        row = Duty(name=name, state={}, outcome={}, failed_runs=0)
        session.add(row)
        session.flush()  # Another process that does the same at this moment has its transaction run again.
    if not _is_due(row, now, interval):
        return None
    token = str(uuid.uuid4())
    unchanged = Duty.lease.is_(None) if row.lease is None else Duty.lease == row.lease
    taken = update(Duty).where(Duty.name == name, unchanged, Duty.ended_at.is_not_distinct_from(row.ended_at))
    values = {"lease": token, "lease_until": now + lease, "holder": holder, "started_at": now}
    return Claim(name, token, dict(row.state)) if _changed(session, taken.values(**values)) else None


def renew(session: Session, held: Claim, lease: timedelta, state: Mapping[str, Any] | None = None) -> None:
    """Hold the duty for another lease. state: kept for whoever goes on from here, if given. Raises DutyLost."""
    values: dict[str, Any] = {"lease_until": database_now(session) + lease}
    if state is not None:
        values["state"] = dict(state)
    _update_held(session, held, values)


def finish(session: Session, held: Claim, outcome: Mapping[str, Any], *, failed: bool) -> None:
    """Give the duty back at the end of a run. Raises DutyLost."""
    failures = Duty.failed_runs + 1 if failed else 0
    ended = {"ended_at": database_now(session), "outcome": dict(outcome), "failed_runs": failures}
    _update_held(session, held, {"lease": None, "lease_until": None, **ended})


def give_back(session: Session, held: Claim) -> None:
    """Give the duty back in the middle of a run, for another process to go on at once. Raises DutyLost."""
    _update_held(session, held, {"lease": None, "lease_until": None})


def list_duties(session: Session) -> list[DutyRecord]:
    """How all duties stand that have ever been done."""
    return [
        DutyRecord(row.name, row.holder, row.lease is not None, row.ended_at, row.failed_runs, row.outcome, row.state)
        for row in session.scalars(select(Duty).order_by(Duty.name))
    ]


def _is_due(row: Duty, now: datetime, interval: timedelta) -> bool:
    if row.lease_until is not None:
        return row.lease_until <= now
    if row.ended_at is None:
        return True
    wait = interval
    if row.failed_runs:
        wait = min(interval, FIRST_RETRY * 2 ** min(row.failed_runs - 1, 20))
    return row.ended_at + wait <= now


def _update_held(session: Session, held: Claim, values: Mapping[str, Any]) -> None:
    if not _changed(session, update(Duty).where(Duty.name == held.name, Duty.lease == held.lease).values(**values)):
        raise DutyLost(held.name)


def _changed(session: Session, statement: Update) -> bool:
    result = session.execute(statement.execution_options(synchronize_session=False))
    return cast(CursorResult[Any], result).rowcount == 1


class KeptDuty(Renewal):
    """The lease of a claim; the thread at work asks it whether to go on."""

    def __init__(self, database: Database, held: Claim, lease: timedelta, stop: threading.Event) -> None:
        """stop: set when the process should end."""
        super().__init__(held.name, lease.total_seconds() / RENEWALS_PER_LEASE, DutyLost, stop)
        self._database = database
        self._held = held
        self._lease = lease
        self.state: Mapping[str, Any] = held.state
        """What is kept for whoever goes on from here."""

    def wait(self, seconds: float) -> None:
        """Wait, unless the work should end. Raises as `check`."""
        self._stop.wait(seconds)
        self.check()

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state in the database. Raises DutyLost, DatabaseAway."""
        self._database.transaction(lambda session: renew(session, self._held, self._lease, state))
        self.state = state

    def renew(self) -> None:
        self._database.transaction(lambda session: renew(session, self._held, self._lease))


class Work(Protocol):
    """What is to be done of a duty."""

    @property
    def name(self) -> str:
        """Of the duty; what is at work under one name is one at a time."""
        ...

    def run(self, kept: KeptDuty) -> Mapping[str, Any]:
        """Do it once, and say in figures what came of it. Raises ManifestServiceError, DatabaseAway, and as `check`."""
        ...


@dataclass(frozen=True)
class Terms:
    """On which terms a process takes duties. holder: who it is, for people to read. lease: how long a claim holds."""

    holder: str
    lease: timedelta


@dataclass(frozen=True)
class Run:
    """What came of one run. error: why it failed, if it did."""

    outcome: Mapping[str, Any]
    error: ManifestServiceError | None = None


def run_once(
    database: Database, work: Work, terms: Terms, stop: threading.Event, interval: timedelta = timedelta(0)
) -> Run | None:
    """Do a duty, if it is due and nobody is at it; None where it is not.

    interval: since the end of the last run, after which it is due.
    Raises StopAsked where `stop` was set meanwhile, DutyLost, DatabaseAway.
    """
    held = database.transaction(lambda session: claim(session, work.name, terms.holder, terms.lease, interval))
    if held is None:
        return None
    error: ManifestServiceError | None = None
    with KeptDuty(database, held, terms.lease, stop) as kept:
        try:
            outcome = work.run(kept)
        except (StopAsked, KeyboardInterrupt):
            database.transaction(lambda session: give_back(session, held))
            raise
        except ManifestServiceError as failure:
            error = failure
        except (DutyLost, DatabaseAway):
            raise
        except Exception as defect:
            LOG.exception("%s broke", work.name)
            error = ManifestServiceError(INTERNAL_ERROR, type(defect).__name__)
    if error is not None:
        outcome = {"code": error.code, "reason": error.reason}
        LOG.warning("%s: %s", work.name, error)
    database.transaction(lambda session: finish(session, held, outcome, failed=error is not None))
    return Run(outcome, error)
