"""One stream of bytes to several consumers, by threads of which none waits for another.

    thread 1   inflate 1 │ sha256 1 2 3           │ inflate 6 │ sha512 4 5 6 ...
    thread 2   inflate 2 │ inflate 3 │ sha512 1 2 3 │ inflate 4 │ inflate 5 │ sha256 4 ...

A consumer takes in one piece at a time, in order. Whoever has made a piece lays it down at each consumer, and then
serves those that nobody serves, as long as there are pieces in order; then it makes the next one. So a core is idle
only when there is nothing to do: threads that waited for their turn at a consumer were woken too late, each time
(docs/decisions/inflating.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from manifest_service.digests.algorithms import Consumer
from manifest_service.disks.buffers import Buffer
from manifest_service.disks.reading import Piece, Unfinished
from manifest_service.disks.runs import Zeros

_UNDER_WAY = 10
"""Pieces that are under way at most. Fewer leave threads without work; more would only take memory."""

_MOST_CORES = 4
"""Cores that are used for inflating at most, where there are so many."""


class FanOut:
    """Hands pieces to consumers. As context manager: leaving it ends all threads, whatever happened.

    Results are only to be used if all consumers took in all bytes: `finish` raises what any thread raised, and counts.
    """

    def __init__(self, consumers: Mapping[str, Consumer]) -> None:
        """consumers: by name, which is for error messages."""
        self._stations = [_Station(name, consumer) for name, consumer in consumers.items()]
        self._most_threads = min(len(os.sched_getaffinity(0)), _MOST_CORES + len(consumers))
        self._threads: list[Thread] = []
        self._queue: SimpleQueue[tuple[int, Piece] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # of tokens: threading's semaphores are slow
        for _ in range(_UNDER_WAY):
            self._room.put(None)
        self._count = 0
        self._length = 0
        self._failure: BaseException | None = None
        self._aborted = False

    def put(self, piece: Piece) -> None:
        """Hand over the next piece; wait while many are under way. It is let go of when all consumers have had it."""
        self._room.get()
        self._raise_failure()
        if len(self._threads) < self._most_threads:
            thread = Thread(target=self._work, name=f"digest-{len(self._threads)}", daemon=True)
            # Known before it runs: a signal may end this at any point, and `_end` has to send word to each that runs.
            self._threads.append(thread)
            thread.start()
        self._length += piece.length
        self._queue.put((self._count, piece))
        self._count += 1

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
        while (queued := self._queue.get()) is not None:
            self._carry(*queued)
            del queued
            for station in self._stations:
                self._serve(station)

    def _carry(self, number: int, piece: Piece) -> None:
        """Make a piece, and lay it down at all consumers."""
        made = _Made(self._made(piece), holders=len(self._stations) + 1)
        if isinstance(made.content, BaseException) and not self._stations:
            self._note(made.content)
        for station in self._stations:
            station.lay_down(number, made)
        self._let_go(made)
        # An error holds this frame, and so all of a batch's memory: as a circle that would stay until it is looked for.
        del made

    def _made(self, piece: Piece) -> Buffer | Zeros | BaseException | None:
        """What consumers get of a piece; an error, which they meet in its place; None if nobody wants it any more."""
        if not isinstance(piece, Unfinished):
            return piece
        if self._is_over():
            piece.release()
            return None
        try:
            return piece.finish()
        except BaseException as error:  # Whatever it is, the computing thread has to know.
            return error

    def _serve(self, station: _Station) -> None:
        """Give a consumer what lies there in order, unless somebody else is doing so."""
        while (made := station.pick_up()) is not None:
            try:
                if isinstance(made.content, BaseException):
                    self._note(made.content)
                elif made.content is not None and not self._is_over():
                    station.take_in(made.content)
            except BaseException as error:
                self._note(error)
            self._let_go(made)
            station.leave()

    def _let_go(self, made: _Made) -> None:
        if made.let_go():
            self._room.put(None)

    def _note(self, failure: BaseException) -> None:
        """Keep the first failure: of what is broken in the stream the first, since consumers meet it in order."""
        if self._failure is None:
            self._failure = failure

    def _is_over(self) -> bool:
        return self._aborted or self._failure is not None


class _Made:
    """A piece that lies at all consumers until each has had it, or the error that stands in its place."""

    def __init__(self, content: Buffer | Zeros | BaseException | None, holders: int) -> None:
        self.content = content
        self._holders = holders
        self._lock = Lock()

    def let_go(self) -> bool:
        """Count one holder less; whether that was the last one."""
        with self._lock:
            self._holders -= 1
            if self._holders:
                return False
        if isinstance(self.content, Buffer):
            self.content.release()
        return True


class _Station:
    """One consumer, what lies there for it, and how many bytes it has taken in."""

    def __init__(self, name: str, consumer: Consumer) -> None:
        self.name = name
        self.length = 0
        self._consumer = consumer
        self._lock = Lock()
        self._waiting: dict[int, _Made] = {}
        self._next = 0
        self._is_served = False

    def lay_down(self, number: int, made: _Made) -> None:
        """Leave a piece here: the stream's piece of that number, which others may overtake."""
        with self._lock:
            self._waiting[number] = made

    def pick_up(self) -> _Made | None:
        """Take the next piece of the stream and begin to serve; None if it is not here, or somebody else serves."""
        with self._lock:
            if self._is_served or self._next not in self._waiting:
                return None
            self._is_served = True
            self._next += 1
            return self._waiting.pop(self._next - 1)

    def leave(self) -> None:
        """End to serve, until the next `pick_up`."""
        with self._lock:
            self._is_served = False

    def take_in(self, piece: Buffer | Zeros) -> None:
        if isinstance(piece, Buffer):
            self._consumer.data(piece.view)
        else:
            self._consumer.zeros(piece.length)
        self.length += piece.length
