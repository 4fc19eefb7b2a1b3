"""One stream of bytes to several consumers, by threads that each carry a piece through all of them.

    thread 1   inflate 1 │ sha256 1 │ sha512 1 │ inflate 3 │ ...
    thread 2         inflate 2      │ sha256 2 │ sha512 2  │ ...

A consumer takes in one piece at a time, in order. A thread hashes what it has inflated itself, while that is in the
cache of its core: to hash what another core had inflated took half as long again (docs/decisions/inflating.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from types import TracebackType
from typing import Self

from manifest_service.digests.algorithms import Consumer
from manifest_service.disks.buffers import Buffer
from manifest_service.disks.reading import Piece, Unfinished
from manifest_service.disks.runs import Zeros

_QUEUED = 2
"""Pieces that wait for a thread at most. More would only be longer out of the caches."""

_MOST_CORES = 4
"""Cores that are used for inflating at most, where there are so many."""


class FanOut:
    """Hands pieces to consumers. As context manager: leaving it ends all threads, whatever happened.

    Results are only to be used if all consumers took in all bytes: `finish` raises what any thread raised, and counts.
    """

    def __init__(self, consumers: Mapping[str, Consumer]) -> None:
        """consumers: by name, which is for error messages."""
        self._stations = [_Station(name, consumer) for name, consumer in consumers.items()]
        self._most_threads = min(_MOST_CORES, len(os.sched_getaffinity(0))) + len(consumers)
        self._threads: list[Thread] = []
        self._queue: SimpleQueue[_Carried | None] = SimpleQueue()
        self._room = Semaphore(self._most_threads + _QUEUED)
        self._turns = [Lock() for _ in self._stations]
        self._length = 0
        self._failure: BaseException | None = None
        self._aborted = False

    def put(self, piece: Piece) -> None:
        """Hand over the next piece; wait while all threads are busy. It is let go of when all consumers have had it."""
        self._room.acquire()
        self._raise_failure()
        if len(self._threads) < self._most_threads:
            thread = Thread(target=self._work, name=f"digest-{len(self._threads)}", daemon=True)
            # Known before it runs: a signal may end this at any point, and `_end` has to send word to each that runs.
            self._threads.append(thread)
            thread.start()
        next_turns = [Lock() for _ in self._stations]
        for turn in next_turns:
            turn.acquire()
        self._length += piece.length
        self._queue.put(_Carried(piece, self._turns, next_turns))
        self._turns = next_turns

    def finish(self) -> None:
        """Wait until all consumers have taken in everything."""
        self._end()
        self._raise_failure()
        for station in self._stations:
            if station.length != self._length:
                raise RuntimeError(f"{station.name} took in {station.length} of {self._length} bytes")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        for _ in self._threads:
            self._queue.put(None)  # It never waits, and one too many does no harm: Ctrl-C may lead here twice.
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aborted = True
        self._end()
        self._failure = None  # It holds frames that hold us.

    def _work(self) -> None:
        # Even after a failure every piece is taken, so that nobody waits for ever, and buffers come free.
        while (carried := self._queue.get()) is not None:
            self._carry(carried)
            self._room.release()

    def _carry(self, carried: _Carried) -> None:
        """Take a piece to all consumers, each when the piece before has left it."""
        piece: Buffer | Zeros | None = None
        failure: BaseException | None = None
        try:
            piece = self._finished(carried.piece)
        except BaseException as error:  # Whatever it is, the computing thread has to know.
            failure = error
        for station, turn, next_turn in zip(self._stations, carried.turns, carried.next_turns, strict=True):
            turn.acquire()
            try:
                if failure is None and piece is not None and not self._is_over():
                    station.take_in(piece)
            except BaseException as error:
                failure = error
            self._note(failure)
            next_turn.release()
        self._note(failure)
        # It holds this frame, and so all of a batch's memory: as a circle that would stay until it is looked for.
        del failure
        if isinstance(piece, Buffer):
            piece.release()

    def _finished(self, piece: Piece) -> Buffer | Zeros | None:
        if not isinstance(piece, Unfinished):
            return piece
        if self._is_over():
            piece.release()
            return None
        return piece.finish()

    def _note(self, failure: BaseException | None) -> None:
        """Keep the first failure of the stream; pieces before the one that failed have been here before."""
        if failure is not None and self._failure is None:
            self._failure = failure

    def _is_over(self) -> bool:
        return self._aborted or self._failure is not None


@dataclass(frozen=True, slots=True)
class _Carried:
    """A piece on its way. turns: locks that come free, one for each consumer, when the piece before has left there.

    next_turns: those that wait for this piece in the same way.
    """

    piece: Piece
    turns: Sequence[Lock]
    next_turns: Sequence[Lock]


class _Station:
    """One consumer, and how many bytes it has taken in."""

    def __init__(self, name: str, consumer: Consumer) -> None:
        self.name = name
        self.length = 0
        self._consumer = consumer

    def take_in(self, piece: Buffer | Zeros) -> None:
        if isinstance(piece, Buffer):
            self._consumer.data(piece.view)
        else:
            self._consumer.zeros(piece.length)
        self.length += piece.length
