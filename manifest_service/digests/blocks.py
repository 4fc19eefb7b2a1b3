"""Cutting a disk that comes in pieces of any length into blocks of one size."""

from __future__ import annotations

from collections.abc import Callable


class Blocks:
    """Puts pieces together to whole blocks, and hands these on, zeros as a mere count."""

    def __init__(self, block_size: int, on_data: Callable[[memoryview], None], on_zeros: Callable[[int], None]) -> None:
        """Begin at the first byte of a disk.

        block_size: bytes. on_data: called with one or more whole blocks; the view is reused after the call. on_zeros:
        called with a number of blocks that hold zeros only and were never read.
        """
        self._size = block_size
        self._on_data = on_data
        self._on_zeros = on_zeros
        self._begun = memoryview(bytearray(block_size))
        self._filled = 0

    def data(self, view: memoryview) -> None:
        if self._filled:
            view = view[self._fill(view, len(view)) :]
        whole = len(view) - len(view) % self._size
        if whole:
            self._on_data(view[:whole])
        self._fill(view[whole:], len(view) - whole)

    def zeros(self, length: int) -> None:
        if self._filled:
            length -= self._fill(None, length)
        count, rest = divmod(length, self._size)
        if count:
            self._on_zeros(count)
        self._fill(None, rest)

    def rest(self) -> memoryview:
        """The bytes of the last block, if it is not whole; otherwise none."""
        return self._begun[: self._filled]

    def _fill(self, view: memoryview | None, length: int) -> int:
        """Add to the block that has begun, from the view or zeros, and return how many bytes it took."""
        taken = min(length, self._size - self._filled)
        end = self._filled + taken
        self._begun[self._filled : end] = bytes(taken) if view is None else view[:taken]
        self._filled = end % self._size
        if taken and not self._filled:
            self._on_data(self._begun)
        return taken
