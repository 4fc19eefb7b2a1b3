"""A worker: takes the image whose turn it is, computes its manifest, and goes on until it is asked to stop."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from oslo_log import log
from sqlalchemy.orm import Session

from manifest_service import logs
from manifest_service.attestations.keys import PrivateKey
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, ManifestServiceError
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import ComputedManifest, Task
from manifest_service.processing import metrics, queue
from manifest_service.processing.computation import ComputationSettings, ImageSources, compute_manifest
from manifest_service.processing.lanes import Turns
from manifest_service.processing.lease import KeptLease, StopAsked
from manifest_service.processing.metrics import Outcome

LOG = log.getLogger(__name__)

DATABASE_PATIENCE = 60
"""Tries to write down a finished computation while the database is away."""
PAUSE_WHILE_AWAY = 4
"""Poll intervals between two tries of a database that is away: a second, as they come."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker takes and keeps work. Times in seconds; see the [worker] options."""

    poll_interval: float
    lease: float
    max_attempts: int
    retry_delay: float
    computation: ComputationSettings


class Worker:
    """One loop over the queue, for one thread. Any number may run, in any number of processes."""

    def __init__(  # noqa: PLR0913
        self,
        database: Database,
        sources: ImageSources,
        settings: WorkerSettings,
        version: str,
        number: int = 0,
        *,
        signer: PrivateKey | None = None,
        small_only: bool = False,
    ) -> None:
        """Make a worker that is not running yet.

        version: ours, for the manifests' `computed_by`. number: tells the workers of one process apart. signer: the
        key that statements are signed with; without one, none are made. small_only: whether it leaves large images
        to others.
        """
        self._database = database
        self._sources = sources
        self._settings = settings
        self._computed_by = f"manifest-service {version}"
        self._signer = signer
        self._turns = Turns(small_only=small_only)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{number}"
        self._drain = threading.Event()
        self._stop = threading.Event()

    def drain(self) -> None:
        """Ask the loop to take no other image; one under way is brought to its end."""
        self._drain.set()

    def stop(self) -> None:
        """Ask the loop to end; an image under way is given back for others to take."""
        self._drain.set()
        self._stop.set()

    def run(self) -> None:
        """Work until `drain` or `stop` is called. What goes wrong with one image, or the database, does not end it."""
        LOG.info("worker %s waits for images", self.name)
        while not self._drain.is_set():
            pause = self._settings.poll_interval
            try:
                if self.work_once():
                    continue
            except DatabaseAway as error:
                LOG.warning("the database is away (%s): trying again", error)
                pause *= PAUSE_WHILE_AWAY
            except Exception:
                LOG.exception("worker %s met something unexpected and goes on", self.name)
            self._drain.wait(pause)
        LOG.info("worker %s has stopped", self.name)

    def work_once(self) -> bool:
        """Take one image, if one is due, and bring it to an end. Answers whether there was one."""
        settings = self._settings
        lease = timedelta(seconds=settings.lease)
        preference = self._turns.preference
        task = self._database.transaction(
            lambda session: queue.claim(session, self.name, lease, settings.max_attempts, preference)
        )
        if task is None:
            return False
        with logs.within_request(task.request_id), metrics.UNDER_WAY.track_inprogress():
            self._bring_to_an_end(task)
        return True

    def _bring_to_an_end(self, task: Task) -> None:
        """Compute a task's manifest, or put the image back, and count what became of it."""
        begin = time.monotonic()
        LOG.info("image %s revision %d: attempt %d begins", task.image_id, task.revision, task.attempt)
        kept = KeptLease(self._database, task, timedelta(seconds=self._settings.lease), self._stop)
        ended_as = Outcome.BROKEN
        try:
            with kept:
                ended_as = self._compute_and_keep(task, kept)
        except queue.LeaseLost:
            ended_as = Outcome.LEASE_LOST
            LOG.warning("image %s: the lease was lost; whoever holds it now goes on", task.image_id)
        finally:
            took = time.monotonic() - begin
            metrics.ATTEMPTS.labels(ended_as).inc()
            metrics.ATTEMPT_SECONDS.observe(took)
            self._turns.took(took, is_large=task.is_large)

    def _compute_and_keep(self, task: Task, kept: KeptLease) -> Outcome:
        """Compute the manifest and write it down, or give the image back. Raises LeaseLost, DatabaseAway."""
        try:
            outcome = self._compute(task, kept)
        except StopAsked:
            self._database.transaction(lambda session: queue.give_back(session, task))
            LOG.info("image %s is given back: this worker stops", task.image_id)
            return Outcome.RETURNED
        return self._write_down(task, outcome)

    def _compute(self, task: Task, kept: KeptLease) -> ComputedManifest | ManifestServiceError:
        """The manifest, or why there is none. A lost lease and a stop pass through as what they are."""
        try:
            computed = compute_manifest(task, self._sources, self._settings.computation, kept.report)
        except (ImageRefused, ComputationFailed) as error:
            metrics.ATTEMPT_ERRORS.labels(error.code).inc()
            return error
        except (queue.LeaseLost, StopAsked):
            raise
        except Exception as error:
            LOG.exception("image %s: the computation broke", task.image_id)
            metrics.ATTEMPT_ERRORS.labels(FailureCode.INTERNAL_ERROR).inc()
            return ComputationFailed(FailureCode.INTERNAL_ERROR, type(error).__name__, retriable=True)
        metrics.SOURCE_BYTES.inc(computed.source_size)
        metrics.DISK_BYTES.inc(computed.virtual_size)
        return computed

    def _write_down(self, task: Task, outcome: ComputedManifest | ManifestServiceError) -> Outcome:
        """Write the outcome, in one transaction, with patience for a database that is away for a while."""
        for _ in range(DATABASE_PATIENCE):
            try:
                return self._database.transaction(lambda session: self._finish(session, task, outcome))
            except DatabaseAway as error:
                LOG.warning("image %s is done, but the database is away: %s", task.image_id, error)
                if self._stop.wait(PAUSE_WHILE_AWAY * self._settings.poll_interval):
                    break
        raise DatabaseAway(f"the outcome of image {task.image_id} is not written; it will be computed again")

    def _finish(self, session: Session, task: Task, outcome: ComputedManifest | ManifestServiceError) -> Outcome:
        """Bring the entry to its next state: ready, later again, refused or failed."""
        if isinstance(outcome, ComputedManifest):
            written = queue.finish_ready(session, task, outcome, self._computed_by, self._signer)
            LOG.info("image %s is ready" if written else "image %s has changed and starts over", task.image_id)
            return Outcome.READY if written else Outcome.STARTED_OVER
        LOG.warning("image %s, attempt %d: %s", task.image_id, task.attempt, outcome)
        retriable = isinstance(outcome, ComputationFailed) and outcome.retriable
        if retriable and task.attempt < self._settings.max_attempts:
            queue.retry_later(session, task, outcome, timedelta(seconds=self._settings.retry_delay))
            return Outcome.RETRIED
        if not queue.finish_without(session, task, outcome):
            return Outcome.STARTED_OVER
        return Outcome.REFUSED if isinstance(outcome, ImageRefused) else Outcome.FAILED
