"""The workers of one process, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from manifest_service.processing.worker import Worker


class WorkerPool:
    """Runs workers from `start` to `stop`."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._threads = [
            threading.Thread(target=worker.run, name=f"worker-{number}") for number, worker in enumerate(workers)
        ]

    def start(self) -> None:
        """Begin to take images."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give back what is under way, and wait until all have ended."""
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
