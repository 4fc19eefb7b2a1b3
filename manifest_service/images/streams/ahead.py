"""Reading a store's answer on a thread of its own, some way ahead of who needs it.

What this buys: the network and the hashes work at the same time; and a store that is silent for ever holds a thread,
and not the worker, which goes on when its patience is at an end. Not every driver can be given a time limit of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

from manifest_service.disks.limits import MIB
from manifest_service.errors import ComputationFailed
from manifest_service.images.objects.stored_object import ObjectChanged, ObjectMissing, OpenedObject, StoreBroke
from manifest_service.images.streams.patience import LOOK, Patience

_AHEAD = 8 * MIB
"""Bytes that may wait to be taken; a driver's single part may be larger, and waits alone then."""


class AheadReader:
    """One answer of a store. Close it in any case."""

    def __init__(self, begin: Callable[[], OpenedObject], patience: Patience) -> None:
        """begin: opens the object; called on the reading thread, as is everything of the answer."""
        self._begin = begin
        self._patience = patience
        self._changed = threading.Condition()
        self._opened: OpenedObject | None = None
        self._parts: deque[bytes] = deque()
        self._waiting = 0
        self._error: Exception | None = None
        self._ended = False
        self._closed = False
        self._tick_due = time.monotonic() + LOOK
        threading.Thread(target=self._read, name="store-reader", daemon=True).start()

    def opened(self) -> OpenedObject:
        """What the store says of its answer, for looking at only. Raises as `StoredObject.open`."""
        self._wait_for(lambda: self._opened is not None or self._ended)
        if self._opened is None:
            raise self._error or StoreBroke("the store said nothing")
        return self._opened

    def next_part(self) -> bytes | None:
        """The next bytes; None at the end of the answer. Raises StoreBroke where it breaks off."""
        self._wait_for(lambda: bool(self._parts) or self._ended)
        with self._changed:
            if self._parts:
                part = self._parts.popleft()
                self._waiting -= len(part)
                self._changed.notify_all()
                return part
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        """Have the thread let go of the answer, now or as soon as the store says anything."""
        with self._changed:
            self._closed = True
            self._parts.clear()
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + self._patience.silence
        while True:
            self._tick()
            with self._changed:
                if condition() or self._changed.wait_for(condition, LOOK):
                    return
            if time.monotonic() > end:
                raise StoreBroke(f"no byte came for {self._patience.silence:g} seconds")

    def _tick(self) -> None:
        """Tick now and then, also where nobody has to wait: bytes that trickle in may take for ever, too."""
        if time.monotonic() >= self._tick_due:
            self._patience.tick()
            self._tick_due = time.monotonic() + LOOK

    def _read(self) -> None:
        error: Exception | None = None
        try:
            opened = self._begin()
            with closing(opened):
                with self._changed:
                    self._opened = opened
                    self._changed.notify_all()
                for part in opened.parts:
                    if not self._put(part):
                        break
        except (StoreBroke, ObjectMissing, ObjectChanged, ComputationFailed) as known:
            error = known
        except Exception as unknown:
            error = StoreBroke(f"reading from the store ended with {type(unknown).__name__}")
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _put(self, part: bytes) -> bool:
        """Hand a part over when there is room; False where nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting < _AHEAD)
            if self._closed:
                return False
            if part:
                self._parts.append(part)
                self._waiting += len(part)
                self._changed.notify_all()
            return True
