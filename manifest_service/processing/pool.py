"""The workers of one process, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from manifest_service.processing import metrics
from manifest_service.processing.worker import Worker


class WorkerPool:
    """Runs workers from `start` to `stop`."""

    def __init__(self, workers: Sequence[Worker], key_id: str | None = None, patience: float = 0.0) -> None:
        """key_id: of the key that they all sign with; None where they sign nothing.

        patience: seconds that a stop gives images under way to come to their end.
        """
        self._workers = workers
        self._key_id = key_id
        self._patience = patience
        metrics.WORKERS.set(len(workers))
        metrics.SIGNS.set(key_id is not None)
        self._threads = [
            threading.Thread(target=worker.run, name=f"worker-{number}") for number, worker in enumerate(workers)
        ]

    def look(self) -> dict[str, object]:
        """How it is: how many images at a time, and the id of the key that signs their statements."""
        return {"workers": len(self._workers), "signing_key": self._key_id}

    def start(self) -> None:
        """Begin to take images."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more, give back what does not come to its end in time, and wait until all have ended."""
        for worker in self._workers:
            worker.drain()
        deadline = time.monotonic() + self._patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
