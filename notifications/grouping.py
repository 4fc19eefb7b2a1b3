"""Writing together what arrives together: one transaction for all messages that are waiting for one."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from manifest_service.manifests import intake
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.values import ImageObservation


@dataclass
class _Waiting:
    """An observation whose thread waits until it is written. error: why it is not."""

    seen: ImageObservation
    is_over: bool = False
    error: Exception | None = None


class GroupWriter:
    """Takes in observations from many threads.

    While one thread commits, others gather behind it; the next one of them commits for all that have gathered. A
    message that comes alone waits for nobody. Each thread goes on, and acknowledges, once its own message is durable.
    """

    def __init__(self, database: Database) -> None:
        """Write to `database`."""
        self._database = database
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._gathered: list[_Waiting] = []

    def observe(self, seen: ImageObservation) -> None:
        """Return when `seen` is durable. Raises what kept it from being written: DatabaseAway, or a defect of ours."""
        mine = _Waiting(seen)
        with self._guard:
            self._gathered.append(mine)
        with self._writing:
            if not mine.is_over:
                with self._guard:
                    group, self._gathered = self._gathered, []
                self._write(group)
        if not mine.is_over:  # Whoever had it in his group was ended in the middle: it is not written.
            raise DatabaseAway("the thread that was to write it has ended")
        if mine.error is not None:
            raise mine.error

    def _write(self, group: list[_Waiting]) -> None:
        """Write all in one transaction; where that fails, each in one of its own, so that none pays for another."""
        try:
            self._commit(group)
        except DatabaseAway as error:
            _end(group, error)
        except Exception as error:
            if len(group) == 1:
                _end(group, error)
                return
            for each in group:
                self._write([each])
        else:
            _end(group, None)

    def _commit(self, group: list[_Waiting]) -> None:
        observations = [each.seen for each in group]
        self._database.transaction(lambda session: intake.observe_all(session, observations))


def _end(group: list[_Waiting], error: Exception | None) -> None:
    for each in group:
        each.error = error
        each.is_over = True
