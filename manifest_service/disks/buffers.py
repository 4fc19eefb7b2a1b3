"""Buffers that are used again and again: fresh memory for each read costs more than reading (page faults)."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, LifoQueue
from threading import Lock


class Buffer:
    """Memory of a pool, shared by those who retained it; it goes back to the pool when the last one lets go.

    memory: all of it. length: bytes of it that are in use, set by whoever fills it.
    """

    __slots__ = ("_holders", "_lock", "_pool", "length", "memory")

    def __init__(self, memory: memoryview, pool: BufferPool) -> None:
        self.memory = memory
        self.length = 0
        self._pool = pool
        self._holders = 0
        self._lock = Lock()

    @property
    def view(self) -> memoryview:
        """The bytes in use."""
        return self.memory[: self.length]

    def retain(self, holders: int = 1) -> None:
        """Count so many holders more."""
        with self._lock:
            self._holders += holders

    def release(self) -> None:
        """Let go once."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._pool.give_back(self)


class BufferPool:
    """At most `count` buffers of `size` bytes, made when they are first needed; for one taking thread.

    The one that came back last is taken first: it is the likeliest to be in a cache still.
    """

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self._unmade = count
        self._free: LifoQueue[Buffer] = LifoQueue()
        self._closed = False

    def take(self) -> Buffer:
        """Take an empty buffer, held once; wait until one is free."""
        if self._unmade and self._free.empty():
            self._unmade -= 1
            buffer = Buffer(memoryview(bytearray(self.size)), self)
        else:
            buffer = self._free.get()
        buffer.length = 0
        buffer.retain()
        return buffer

    def give_back(self, buffer: Buffer) -> None:
        """Take a buffer back that nobody holds any more."""
        if not self._closed:
            self._free.put(buffer)

    def close(self) -> None:
        """Let go of all buffers: their memory is freed as soon as nobody holds them. Nothing can be taken any more."""
        self._closed = True
        with suppress(Empty):
            while True:
                self._free.get_nowait()
