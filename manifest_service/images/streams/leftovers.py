"""What a stream's reader has passed over: short pieces, kept since they may be wanted when the window is far beyond.

`qemu-img convert -c` fills a cluster with compressed ones and writes what does not compress into clusters of its own.
After hundreds of MiB of the latter (an archive, say) it goes on filling the first, whose rest was passed over before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

MARGIN = 512
"""Bytes before a piece that are kept with it: compressed clusters that follow each other share a sector."""


@dataclass
class _Piece:
    """Bytes from `start` on, as many as have passed."""

    start: int
    data: bytearray


class Leftovers:
    """Pieces of a stream in order; the oldest ones go when there are too many bytes."""

    def __init__(self, capacity: int) -> None:
        """capacity: bytes in all. A piece that would take more than a quarter of them is not kept."""
        self._capacity = capacity
        self._pieces: deque[_Piece] = deque()
        self._size = 0
        self._end = 0

    def expect(self, margin: bytes, start: int, end: int) -> None:
        """Bytes from `start`, where the stream is, to before `end` will be passed over. margin: those before them."""
        if end - start + len(margin) <= self._capacity // 4:
            self._pieces.append(_Piece(start - len(margin), bytearray(margin)))
            self._size += len(margin)
            self._end = end

    def pass_by(self, data: memoryview, offset: int) -> None:
        """Keep what is expected of the stream's next bytes."""
        wanted = data[: max(0, self._end - offset)]
        if not wanted:
            return
        self._pieces[-1].data += wanted
        self._size += len(wanted)
        while self._size > self._capacity and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft().data)

    def copy(self, space: memoryview, offset: int) -> bool:
        """Fill `space` with the bytes from `offset` on, if all are kept in one piece."""
        index = bisect_right(self._pieces, offset, key=lambda piece: piece.start) - 1
        if index < 0:
            return False
        piece = self._pieces[index]
        first = offset - piece.start
        if first + len(space) > len(piece.data):
            return False
        space[:] = memoryview(piece.data)[first : first + len(space)]
        return True
