"""Keeping a lease while an image is computed: a thread renews it, the computing thread asks it whether to go on."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from oslo_log import log

from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import Progress, Task
from manifest_service.processing import queue

LOG = log.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""One renewal may be lost to a database that is away for a moment, and the next still comes in time."""
PROGRESS_INTERVAL = 2.0
"""Seconds between two renewals at most: they carry the progress that people watch."""


class StopAsked(Exception):
    """The worker was asked to stop: the computation ends here, and the image goes back to the queue."""


class KeptLease:
    """Renews a task's lease from entering to leaving a `with` block."""

    def __init__(self, database: Database, task: Task, lease: timedelta, stop: threading.Event) -> None:
        """Prepare to keep `task`'s lease. stop: set when the worker should end."""
        self._database = database
        self._task = task
        self._lease = lease
        self._stop = stop
        self._over = threading.Event()
        self._lost = threading.Event()
        self._progress = Progress(0, 0)
        self._thread = threading.Thread(target=self._keep, name=f"lease-{task.image_id}", daemon=True)

    def report(self, done: int, total: int) -> None:
        """Take note of the bytes done, and of their total; the computing thread calls this now and then.

        Raises LeaseLost or StopAsked where the computation should end.
        """
        self._progress = Progress(done, total)
        if self._lost.is_set():
            raise queue.LeaseLost(self._task.image_id)
        if self._stop.is_set():
            raise StopAsked

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        interval = min(self._lease.total_seconds() / RENEWALS_PER_LEASE, PROGRESS_INTERVAL)
        while not self._over.wait(interval):
            progress = self._progress
            try:
                self._database.transaction(
                    lambda session: queue.renew(session, self._task, self._lease, progress)  # noqa: B023
                )
            except queue.LeaseLost:
                self._lost.set()
                return
            except DatabaseAway as error:
                # The computation goes on: should somebody else take the image meanwhile, our result is not accepted.
                LOG.warning("image %s: the lease could not be renewed: %s", self._task.image_id, error)
            except Exception:
                LOG.exception("image %s: the lease could not be renewed", self._task.image_id)
