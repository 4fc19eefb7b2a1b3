"""A worker: takes the image that has been due longest, computes its manifest, and goes on until it is asked to stop."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta

from oslo_log import log
from sqlalchemy.orm import Session

from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, ManifestServiceError
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import ComputedManifest, Task
from manifest_service.processing import queue
from manifest_service.processing.computation import ComputationSettings, ImageSources, compute_manifest
from manifest_service.processing.lease import KeptLease, StopAsked

LOG = log.getLogger(__name__)

DATABASE_PATIENCE = 60
"""Tries, one poll interval apart, to write down a finished computation while the database is away."""


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

    def __init__(
        self, database: Database, sources: ImageSources, settings: WorkerSettings, version: str, number: int = 0
    ) -> None:
        """Make a worker that is not running yet.

        version: ours, for the manifests' `computed_by`. number: tells the workers of one process apart.
        """
        self._database = database
        self._sources = sources
        self._settings = settings
        self._computed_by = f"manifest-service {version}"
        self.name = f"{socket.gethostname()}:{os.getpid()}:{number}"
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the loop to end; an image under way is given back for others to take."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called. What goes wrong with one image, or with the database, does not end the loop."""
        LOG.info("worker %s waits for images", self.name)
        while not self._stop.is_set():
            try:
                found = self.work_once()
            except DatabaseAway as error:
                LOG.warning("the database is away (%s): trying again", error)
                found = False
            except Exception:
                LOG.exception("worker %s met something unexpected and goes on", self.name)
                found = False
            if not found:
                self._stop.wait(self._settings.poll_interval)
        LOG.info("worker %s has stopped", self.name)

    def work_once(self) -> bool:
        """Take one image, if one is due, and bring it to an end. Answers whether there was one."""
        settings = self._settings
        lease = timedelta(seconds=settings.lease)
        task = self._database.transaction(lambda session: queue.claim(session, self.name, lease, settings.max_attempts))
        if task is None:
            return False
        LOG.info("image %s revision %d: attempt %d begins", task.image_id, task.revision, task.attempt)
        kept = KeptLease(self._database, task, lease, self._stop)
        try:
            with kept:
                outcome = self._compute(task, kept)
                self._write_down(task, outcome)
        except queue.LeaseLost:
            LOG.warning("image %s: the lease was lost; whoever holds it now goes on", task.image_id)
        except StopAsked:
            self._database.transaction(lambda session: queue.give_back(session, task))
            LOG.info("image %s is given back: this worker stops", task.image_id)
        return True

    def _compute(self, task: Task, kept: KeptLease) -> ComputedManifest | ManifestServiceError:
        """The manifest, or why there is none. A lost lease and a stop pass through as what they are."""
        try:
            return compute_manifest(task, self._sources, self._settings.computation, kept.report)
        except (ImageRefused, ComputationFailed) as error:
            return error
        except (queue.LeaseLost, StopAsked):
            raise
        except Exception as error:
            LOG.exception("image %s: the computation broke", task.image_id)
            return ComputationFailed(FailureCode.INTERNAL_ERROR, type(error).__name__, retriable=True)

    def _write_down(self, task: Task, outcome: ComputedManifest | ManifestServiceError) -> None:
        """Write the outcome, in one transaction, with patience for a database that is away for a while."""
        for _ in range(DATABASE_PATIENCE):
            try:
                self._database.transaction(lambda session: self._finish(session, task, outcome))
            except DatabaseAway as error:
                LOG.warning("image %s is done, but the database is away: %s", task.image_id, error)
                if self._stop.wait(self._settings.poll_interval):
                    break
            else:
                return
        raise DatabaseAway(f"the outcome of image {task.image_id} is not written; it will be computed again")

    def _finish(self, session: Session, task: Task, outcome: ComputedManifest | ManifestServiceError) -> None:
        """Bring the entry to its next state: ready, later again, refused or failed."""
        if isinstance(outcome, ComputedManifest):
            written = queue.finish_ready(session, task, outcome, self._computed_by)
            LOG.info("image %s is ready" if written else "image %s has changed and starts over", task.image_id)
            return
        retriable = isinstance(outcome, ComputationFailed) and outcome.retriable
        if retriable and task.attempt < self._settings.max_attempts:
            queue.retry_later(session, task, outcome, timedelta(seconds=self._settings.retry_delay))
        else:
            queue.finish_without(session, task, outcome)
        LOG.warning("image %s, attempt %d: %s", task.image_id, task.attempt, outcome)
