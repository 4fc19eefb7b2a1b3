"""Keeping a lease during the work that it is for: one thread renews it, the one at work asks whether to go on."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from oslo_log import log

from manifest_service import logs
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import Progress, Task
from manifest_service.processing import metrics, queue

LOG = log.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""One renewal may be lost to a database that is away for a moment, and the next still comes in time."""
PROGRESS_INTERVAL = 2.0
"""Seconds between two renewals at most: they carry the progress that people watch."""


class StopAsked(Exception):
    """The process was asked to stop: the work ends here, and goes back for others to take."""


class Renewal:
    """Renews a lease in a thread of its own, from entering to leaving a `with` block."""

    def __init__(self, name: str, interval: float, lost: type[Exception], stop: threading.Event) -> None:
        """Prepare to renew.

        name: of what is held, for people to read. interval: seconds between two renewals. lost: what `renew` raises
        where the lease is gone. stop: set when the process should end.
        """
        self._name = name
        self._interval = interval
        self._lost = lost
        self._loss: Exception | None = None
        self._stop = stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {name}", daemon=True)

    def renew(self) -> None:
        """Renew the lease once. Raises DatabaseAway, and the error that says that it is lost."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise StopAsked, or the error that says that the lease is lost, where the work should end."""
        if self._loss is not None:
            raise self._loss
        if self._stop.is_set():
            raise StopAsked

    def __enter__(self) -> Self:
        self._request_id = logs.current_request_id()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        with logs.within_request(self._request_id):
            self._renew_until_over()

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.renew()
            except self._lost as loss:
                self._loss = loss
                return
            except DatabaseAway as error:
                metrics.RENEWAL_FAILURES.inc()
                # The work goes on: should somebody else begin it meanwhile, our result is not accepted.
                LOG.warning("%s: the lease could not be renewed: %s", self._name, error)
            except Exception:
                metrics.RENEWAL_FAILURES.inc()
                LOG.exception("%s: the lease could not be renewed", self._name)


class KeptLease(Renewal):
    """The lease of a task."""

    def __init__(self, database: Database, task: Task, lease: timedelta, stop: threading.Event) -> None:
        """Prepare to keep `task`'s lease. stop: set when the worker should end."""
        interval = min(lease.total_seconds() / RENEWALS_PER_LEASE, PROGRESS_INTERVAL)
        super().__init__(f"image {task.image_id}", interval, queue.LeaseLost, stop)
        self._database = database
        self._task = task
        self._lease = lease
        self._progress = Progress(0, 0)

    def report(self, done: int, total: int) -> None:
        """Take note of the bytes done, and of their total; the computing thread calls this now and then.

        Raises LeaseLost or StopAsked where the computation should end.
        """
        self._progress = Progress(done, total)
        self.check()

    def renew(self) -> None:
        progress = self._progress
        self._database.transaction(lambda session: queue.renew(session, self._task, self._lease, progress))
