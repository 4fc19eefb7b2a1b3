"""The last bytes of a stream, kept so that a short step back costs nothing."""

from __future__ import annotations


class Window:
    """A ring: byte n of the stream lies at n modulo its capacity.

    start, end: the stream's bytes that are held, as offsets in it.
    """

    def __init__(self, capacity: int) -> None:
        """capacity: in bytes. Memory is taken as the ring fills for the first time."""
        self.start = 0
        self.end = 0
        self.capacity = capacity
        self._ring = memoryview(bytearray(capacity))

    def append(self, data: memoryview) -> None:
        """Take in the next bytes of the stream; the oldest ones go."""
        kept = data[-self.capacity :]
        place = (self.end + len(data) - len(kept)) % self.capacity
        first = min(len(kept), self.capacity - place)
        self._ring[place : place + first] = kept[:first]
        self._ring[: len(kept) - first] = kept[first:]
        self.end += len(data)
        self.start = max(self.start, self.end - self.capacity)

    def copy(self, space: memoryview, offset: int) -> None:
        """Fill `space` with the bytes from `offset` on, all of which must be held."""
        if offset < self.start or offset + len(space) > self.end:
            raise ValueError(f"bytes {offset} to {offset + len(space)} are not in [{self.start}, {self.end})")
        place = offset % self.capacity
        first = min(len(space), self.capacity - place)
        space[:first] = self._ring[place : place + first]
        space[first:] = self._ring[: len(space) - first]
