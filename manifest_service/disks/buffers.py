"""Buffers that are used again and again: fresh memory for each read costs more than reading (page faults)."""

from __future__ import annotations

from contextlib import suppress
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from queue import Empty, LifoQueue


class Buffer:
    """Memory of a pool, until it is released.

    memory: all of it. length: bytes of it that are in use, set by whoever fills it.
    """

    __slots__ = ("_pool", "length", "memory")

    def __init__(self, memory: memoryview, pool: BufferPool) -> None:
        self.memory = memory
        self.length = 0
        self._pool = pool

    @property
    def view(self) -> memoryview:
        """The bytes in use."""
        return self.memory[: self.length]

    def release(self) -> None:
        """Give it back to the pool, once: others may fill it from now on."""
        self._pool.give_back(self)


class BufferPool:
    """`count` buffers of `size` bytes, which take memory as far as they are filled; for one taking thread.

    The one that came back last is taken first: it is the likeliest to be in a cache still.
    """

    def __init__(self, size: int, count: int, *, large_pages: bool = False) -> None:
        """large_pages: for buffers that are filled to their end. Raises MemoryError."""
        self.size = size
        self._unmade = count
        self._memory: memoryview | None = _new_memory(size * count, large_pages=large_pages)
        self._free: LifoQueue[Buffer] = LifoQueue()
        self._closed = False

    def take(self) -> Buffer:
        """Take an empty buffer; wait until one is free."""
        if self._unmade and self._free.empty() and self._memory is not None:
            self._unmade -= 1
            start = self._unmade * self.size
            buffer = Buffer(self._memory[start : start + self.size], self)
        else:
            buffer = self._free.get()
        buffer.length = 0
        return buffer

    def give_back(self, buffer: Buffer) -> None:
        """Take back a buffer."""
        if not self._closed:
            self._free.put(buffer)

    def close(self) -> None:
        """Let go of all buffers: their memory is freed as soon as nobody holds them. Nothing can be taken any more."""
        self._closed = True
        self._memory = None
        with suppress(Empty):
            while True:
                self._free.get_nowait()


def _new_memory(size: int, *, large_pages: bool) -> memoryview:
    """Memory in so many bytes. Not a bytearray: that writes to all of it before anybody needs it."""
    try:
        memory = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{size} bytes for buffers") from error
    if large_pages:
        # One fault for 2 MiB, and fewer look-ups of addresses: docs/decisions/inflating.md has what that is worth.
        with suppress(OSError):  # A kernel without them.
            memory.madvise(MADV_HUGEPAGE)
    return memoryview(memory)
