"""Buffers that are used again and again: fresh memory for each read costs more than reading (page faults)."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Lock


class Buffer:
    """Memory of a pool, shared by those who retained it; it goes back to the pool when the last one lets go.

    memory: all of it. length: bytes of it that are in use, set by whoever fills it.
    """

    __slots__ = ("_free", "_holders", "_lock", "length", "memory")

    def __init__(self, size: int, free: SimpleQueue[Buffer]) -> None:
        self.memory = memoryview(bytearray(size))
        self.length = 0
        self._free = free
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
            self._free.put(self)


class BufferPool:
    """At most `count` buffers of `size` bytes, made when they are first needed; for one taking thread."""

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self._unmade = count
        self._free: SimpleQueue[Buffer] = SimpleQueue()

    def take(self) -> Buffer:
        """Take an empty buffer, held once; wait until one is free."""
        if self._unmade and self._free.empty():
            self._unmade -= 1
            buffer = Buffer(self.size, self._free)
        else:
            buffer = self._free.get()
        buffer.length = 0
        buffer.retain()
        return buffer
