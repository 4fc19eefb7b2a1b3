"""Digests of a source's own bytes, taken while a disk is read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from manifest_service.digests import algorithms as known
from manifest_service.digests.fanout import FanOut
from manifest_service.disks.buffers import BufferPool
from manifest_service.disks.limits import MIB
from manifest_service.disks.source import ForwardSource, Source, read_exactly

_BUFFER = 1 * MIB
_BUFFERS = 10


class HashedSource:
    """A source that hashes every one of its bytes exactly once, in order, while others read from it.

    A cursor stands where the hashes are. What is read from the cursor on is hashed as it passes; a read beyond the
    cursor first hashes what lies between; a read behind it reads again. A disk whose layout is in guest order, as raw
    and freshly converted images are, is thus read once.

    Guaranteed: the digests are those of the bytes that were read at the cursor, each byte of the source once. Bytes
    behind the cursor are read from the source a second time, so that what the disk's reader gets there was not
    necessarily what was hashed, if somebody wrote to the source in between: verify afterwards that it is unchanged
    (`FileSource.verify_unchanged`).

    Use it as a context manager: leaving it ends its threads. It does not close the source that it wraps.
    """

    def __init__(self, source: Source, algorithms: Iterable[str], tick: Callable[[], None] = lambda: None) -> None:
        """Wrap a source.

        algorithms: names of hashlib's hashes, or blake3. Raises UsageError for an unknown one.
        tick: called often while bytes are hashed that nobody asked for: there may be many GiB of them. What it raises
            ends that and is passed on.
        """
        self._source = source
        self._forward = source if isinstance(source, ForwardSource) else None
        self._tick = tick
        self._hashes = {name: known.new_digest(name) for name in known.check(algorithms)}
        self._fan_out = FanOut(self._hashes)
        self._buffers = BufferPool(_BUFFER, _BUFFERS)
        self._cursor = 0
        self._digests: dict[str, str] | None = None

    @property
    def size(self) -> int:
        return self._source.size

    def readinto(self, buffer: memoryview, offset: int) -> int:
        end = min(offset + len(buffer), self.size)
        if self._digests is None and end > self._cursor:
            if offset > self._cursor and self._forward is not None:
                self._forward.skip_to(min(offset, self.size))
            self._hash_up_to(min(offset, self.size))
        count = self._source.readinto(buffer, offset)
        if self._digests is None and offset + count > self._cursor:
            self._hash(buffer[self._cursor - offset : count])
        return count

    def next_data(self, offset: int) -> range:
        """Everything is data: all bytes are hashed, so that none may be taken for zeros without being read."""
        return range(offset, self.size)

    def fileno(self) -> int:
        return self._source.fileno()

    def finish(self) -> dict[str, str]:
        """Hash what nobody has read, and return algorithm → hexadecimal digest of the whole source."""
        if self._digests is None:
            self._hash_up_to(self.size)
            self._fan_out.finish()
            self._digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        return dict(self._digests)

    def _hash_up_to(self, end: int) -> None:
        while self._cursor < end:
            self._tick()
            buffer = self._buffers.take()
            buffer.length = min(self._buffers.size, end - self._cursor)
            read_exactly(self._source, buffer.view, self._cursor)
            self._cursor += buffer.length
            self._fan_out.put(buffer)

    def _hash(self, data: memoryview) -> None:
        """Hash bytes that lie at the cursor: copies of them, for the reader goes on while they are hashed."""
        for start in range(0, len(data), self._buffers.size):
            part = data[start : start + self._buffers.size]
            buffer = self._buffers.take()
            buffer.length = len(part)
            buffer.view[:] = part
            self._cursor += buffer.length
            self._fan_out.put(buffer)

    def __enter__(self) -> Self:
        self._fan_out.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fan_out.__exit__(kind, error, trace)
        self._buffers.close()
