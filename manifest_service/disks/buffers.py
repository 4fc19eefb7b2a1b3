"""Buffers that are used again and again: fresh memory for each read costs more than reading (page faults)."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Protocol


class Memory(Protocol):
    """Where the memory of buffers comes from."""

    def allocate(self, size: int) -> tuple[int, memoryview]:
        """Give `size` bytes, and the offset at which they lie for others who share the memory."""
        ...


class PrivateMemory:
    """Memory of this process alone."""

    def allocate(self, size: int) -> tuple[int, memoryview]:
        return 0, memoryview(bytearray(size))


class SharedMemory:
    """Memory that child processes can map too, by its descriptor. It goes when the last process has closed it."""

    def __init__(self, size: int) -> None:
        """size: bytes that can be allocated in all; those never written to take no room."""
        self.descriptor = os.memfd_create("buffers", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, size)
        self._view = memoryview(mmap.mmap(self.descriptor, size))
        self._used = 0

    def allocate(self, size: int) -> tuple[int, memoryview]:
        start = self._used
        self._used += size
        return start, self._view[start : self._used]

    def close(self) -> None:
        """Close the descriptor; the memory itself goes with the last buffer in it."""
        self._view.release()
        os.close(self.descriptor)


class Buffer:
    """Memory of a pool, shared by those who retained it; it goes back to the pool when the last one lets go.

    memory: all of it. offset: where that lies in shared memory. length: bytes of it that are in use, set by whoever
    fills it.
    """

    __slots__ = ("_holders", "_lock", "_pool", "length", "memory", "offset")

    def __init__(self, memory: memoryview, offset: int, pool: BufferPool) -> None:
        self.memory = memory
        self.offset = offset
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
    """At most `count` buffers of `size` bytes, made when they are first needed; for one taking thread."""

    def __init__(self, size: int, count: int, memory: Memory | None = None) -> None:
        """memory: where the buffers are allocated; by default in memory of this process alone."""
        self.size = size
        self._memory = memory or PrivateMemory()
        self._unmade = count
        self._free: SimpleQueue[Buffer] = SimpleQueue()
        self._closed = False

    def take(self) -> Buffer:
        """Take an empty buffer, held once; wait until one is free."""
        if self._unmade and self._free.empty():
            self._unmade -= 1
            offset, memory = self._memory.allocate(self.size)
            buffer = Buffer(memory, offset, self)
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
