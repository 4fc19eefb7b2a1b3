"""A process's sign of life: a row that it renews, for `manifest-service status` and the API to see."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from oslo_log import log

from manifest_service import __version__
from manifest_service.manifests import processes
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.processes import ProcessRecord

LOG = log.getLogger(__name__)

Look = Callable[[], Mapping[str, object]]
"""Says how a part of the process is, in a few words and figures."""


class Presence:
    """Renews the process's row from `start` to `stop`."""

    def __init__(self, database: Database, command: str, parts: Mapping[str, Look]) -> None:
        """command: what the process was started as. parts: `listener`, `worker`, `api`, those that run in it."""
        self._database = database
        self._parts = parts
        self._process = ProcessRecord(
            id=str(uuid.uuid4()), command=command, host=socket.gethostname(), pid=os.getpid(), version=__version__
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="presence", daemon=True)

    def start(self) -> None:
        """Appear, and go on saying so."""
        self._thread.start()

    def stop(self) -> None:
        """Disappear at once; where the database is away, the row falls silent instead."""
        self._stopping.set()
        self._thread.join()
        try:
            self._database.transaction(lambda session: processes.withdraw(session, self._process.id))
        except DatabaseAway as error:
            LOG.info("this process stays listed for a while: %s", error)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                now = replace(self._process, parts={name: look() for name, look in self._parts.items()})
                self._database.transaction(lambda session: processes.renew(session, now))  # noqa: B023
            except DatabaseAway as error:
                LOG.debug("the sign of life could not be given: %s", error)
            except Exception:
                LOG.exception("the sign of life could not be given")
            self._stopping.wait(processes.RENEWAL.total_seconds())
