"""One stream of bytes to several consumers, each on its own thread."""

from __future__ import annotations

from collections.abc import Mapping
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Self

from manifest_service.digests.algorithms import Consumer
from manifest_service.disks.buffers import Buffer
from manifest_service.disks.runs import Zeros

_QUEUED = 12
"""Pieces that wait for one consumer at most."""


class FanOut:
    """Hands pieces to consumers. As context manager: leaving it ends all threads, whatever happened.

    Results are only to be used if all consumers took in all bytes: `finish` raises what any thread raised, and counts.
    """

    def __init__(self, consumers: Mapping[str, Consumer]) -> None:
        """consumers: by name, which is for error messages and the threads."""
        self._lanes = [_Lane(name, consumer) for name, consumer in consumers.items()]
        self._length = 0
        self._started = False

    def put(self, piece: Buffer | Zeros) -> None:
        """Hand over the next piece; wait while one is behind. A buffer is let go of when all are done with it."""
        self._start()
        self._raise_failure()
        if isinstance(piece, Buffer):
            piece.retain(len(self._lanes))
            piece.release()
        self._length += piece.length
        for lane in self._lanes:
            lane.put(piece)

    def finish(self) -> None:
        """Wait until all consumers have taken in everything."""
        self._start()
        self._end(abort=False)
        self._raise_failure()
        for lane in self._lanes:
            if lane.length != self._length:
                raise RuntimeError(f"{lane.name} took in {lane.length} of {self._length} bytes")

    def _raise_failure(self) -> None:
        for lane in self._lanes:
            if lane.failure is not None:
                raise lane.failure

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for lane in self._lanes:
                lane.start()

    def _end(self, *, abort: bool) -> None:
        for lane in self._lanes:
            lane.end(abort=abort)
        for lane in self._lanes:
            lane.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(abort=True)


class _Lane:
    """One consumer, its thread and what waits for it.

    Even after a failure the thread takes every piece, so that nobody waits for it forever, and buffers come free.
    """

    def __init__(self, name: str, consumer: Consumer) -> None:
        self.name = name
        self._consumer = consumer
        self.length = 0
        self.failure: BaseException | None = None
        self._aborted = False
        self._queue: Queue[Buffer | Zeros | None] = Queue(_QUEUED)
        self._thread = Thread(target=self._run, name=f"digest-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, piece: Buffer | Zeros) -> None:
        self._queue.put(piece)

    def end(self, *, abort: bool) -> None:
        """Tell the thread to stop after what is queued, or without taking it in."""
        if abort:
            self._aborted = True
        if self._thread.is_alive():
            self._queue.put(None)

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            if self.failure is None and not self._aborted:
                try:
                    self._take_in(piece)
                except BaseException as error:  # Whatever it is, the computing thread has to know.
                    self.failure = error
            if isinstance(piece, Buffer):
                piece.release()

    def _take_in(self, piece: Buffer | Zeros) -> None:
        if isinstance(piece, Buffer):
            self._consumer.data(piece.view)
        else:
            self._consumer.zeros(piece.length)
        self.length += piece.length
