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

from manifest_service.attestations.keys import PrivateKey
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, ManifestServiceError
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import ComputedManifest, Task
from manifest_service.processing import queue
from manifest_service.processing.computation import ComputationSettings, ImageSources, compute_manifest
from manifest_service.processing.lanes import Turns
from manifest_service.processing.lease import KeptLease, StopAsked

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
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the loop to end; an image under way is given back for others to take."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called. What goes wrong with one image, or with the database, does not end the loop."""
        LOG.info("worker %s waits for images", self.name)
        while not self._stop.is_set():
            pause = self._settings.poll_interval
            try:
                if self.work_once():
                    continue
            except DatabaseAway as error:
                LOG.warning("the database is away (%s): trying again", error)
                pause *= PAUSE_WHILE_AWAY
            except Exception:
                LOG.exception("worker %s met something unexpected and goes on", self.name)
            self._stop.wait(pause)
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
        begin = time.monotonic()
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
        finally:
            self._turns.took(time.monotonic() - begin, is_large=task.is_large)
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
                if self._stop.wait(PAUSE_WHILE_AWAY * self._settings.poll_interval):
                    break
            else:
                return
        raise DatabaseAway(f"the outcome of image {task.image_id} is not written; it will be computed again")

    def _finish(self, session: Session, task: Task, outcome: ComputedManifest | ManifestServiceError) -> None:
        """Bring the entry to its next state: ready, later again, refused or failed."""
        if isinstance(outcome, ComputedManifest):
            written = queue.finish_ready(session, task, outcome, self._computed_by, self._signer)
            LOG.info("image %s is ready" if written else "image %s has changed and starts over", task.image_id)
            return
        retriable = isinstance(outcome, ComputationFailed) and outcome.retriable
        if retriable and task.attempt < self._settings.max_attempts:
            queue.retry_later(session, task, outcome, timedelta(seconds=self._settings.retry_delay))
        else:
            queue.finish_without(session, task, outcome)
        LOG.warning("image %s, attempt %d: %s", task.image_id, task.attempt, outcome)
