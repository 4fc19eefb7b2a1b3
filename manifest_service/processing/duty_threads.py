"""The duties of one process, each in a thread of its own that asks now and then whether its duty is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from oslo_log import log

from manifest_service import logs
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.processing.duties import DutyLost, Terms, Work, run_once
from manifest_service.processing.lease import StopAsked

LOG = log.getLogger(__name__)

LOOKS_PER_INTERVAL = 10
PATIENCE = 10.0
"""Seconds that a stop waits for duties."""
MOST_BETWEEN_LOOKS = 15.0
"""Seconds between two looks at most: so long may a duty lie idle whose holder died."""


@dataclass(frozen=True)
class Scheduled:
    """A duty, and the seconds from the end of one run to the next."""

    work: Work
    interval: float


class DutyThreads:
    """Does duties from `start` to `stop`; any number of processes may have the same ones."""

    def __init__(
        self, database: Database, duties: Sequence[Scheduled], terms: Terms, stop: threading.Event | None = None
    ) -> None:
        """stop: what `stop` sets, for whom else waits by it."""
        self._database = database
        self._terms = terms
        self._stop = stop or threading.Event()
        self._threads = [
            threading.Thread(target=self._attend, args=(duty,), name=f"duty-{duty.work.name}", daemon=True)
            for duty in duties
        ]

    def start(self) -> None:
        """Begin to look after the duties."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give back what is under way, and wait until all have ended; one that Glance keeps waiting loses its lease."""
        self._stop.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _attend(self, duty: Scheduled) -> None:
        pause = min(duty.interval / LOOKS_PER_INTERVAL, MOST_BETWEEN_LOOKS)
        interval = timedelta(seconds=duty.interval)
        while not self._stop.is_set():
            try:
                with logs.within_request():
                    run_once(self._database, duty.work, self._terms, self._stop, interval)
            except StopAsked:
                LOG.info("%s is given back: this process stops", duty.work.name)
            except DutyLost:
                LOG.warning("%s: the lease was lost; whoever holds it now goes on", duty.work.name)
            except DatabaseAway as error:
                LOG.warning("%s: the database is away (%s): trying again", duty.work.name, error)
            except Exception:
                LOG.exception("%s met something unexpected and goes on", duty.work.name)
            self._stop.wait(pause)
