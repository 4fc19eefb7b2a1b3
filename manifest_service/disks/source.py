"""Where an image's bytes come from: random access to a fixed number of bytes, read by one thread at a time."""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from manifest_service.errors import ComputationFailed, FailureCode


class Source(Protocol):
    """The bytes of an image as they are stored. Not for several threads at once."""

    @property
    def size(self) -> int:
        """Bytes in all; it does not change while the source is open."""
        ...

    def readinto(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from byte `offset`; return the bytes read: fewer than asked only at the source's end."""
        ...

    def next_data(self, offset: int) -> range:
        """The next bytes from `offset` on that may be other than zeros; empty and at the end where there are none."""
        ...

    def fileno(self) -> int:
        """A descriptor of a regular file with these bytes, for another process to read."""
        ...


@runtime_checkable
class ForwardSource(Source, Protocol):
    """A source for which it matters in what order it is read."""

    def skip_to(self, offset: int) -> None:
        """Take note that the bytes before `offset` will now be read only since they lie before it."""
        ...


class StoredSource(Source, Protocol):
    """A source that was opened in a store, for one who reads it to the end. Leaving it closes it.

    read_from: what it is read from, for the history: the kind of store, and nothing of the place.
    """

    read_from: str

    def verify_unchanged(self) -> None:
        """Raise ComputationFailed if what was read since the opening may not be one version of the bytes."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSource:
    """A regular file, opened once: what its name points to later does not matter."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open descriptor of a regular file; `open` is the usual way here.

        Raises ComputationFailed (source-unreadable) for anything else; the descriptor stays open then.
        """
        self.read_from = "file"
        self._descriptor = descriptor
        self._at_opening = os.fstat(descriptor)
        _require_regular(self._at_opening)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open `path` for reading.

        Raises ComputationFailed: source-not-found, or source-unreadable for what may not be read or is no regular file.
        """
        try:
            # To open anything else can have effects: a FIFO's writer goes on, a watchdog device begins to count.
            _require_regular(os.stat(path))
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ComputationFailed(FailureCode.SOURCE_NOT_FOUND, "there is no such file", retriable=True) from error
        except (OSError, ValueError) as error:
            raise _unreadable("opened", error) from error
        try:
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def size(self) -> int:
        return self._at_opening.st_size

    def readinto(self, buffer: memoryview, offset: int) -> int:
        wanted = max(0, min(len(buffer), self.size - offset))
        done = 0
        while done < wanted:
            try:
                count = self._read(buffer[done:wanted], offset + done)
            except OSError as error:
                raise _unreadable("read", error) from error
            if count == 0:
                raise ComputationFailed(
                    FailureCode.SOURCE_CHANGED,
                    f"the file ends at byte {offset + done}; it had {self.size} bytes when it was opened",
                    retriable=True,
                )
            done += count
        return done

    def _read(self, space: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [space], offset)

    def next_data(self, offset: int) -> range:
        """As lseek(2) tells data from holes; a file system that cannot tell calls everything data."""
        try:
            start = os.lseek(self._descriptor, offset, os.SEEK_DATA)
            end = os.lseek(self._descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return range(self.size, self.size)
            raise _unreadable("read", error) from error
        return range(min(start, self.size), min(end, self.size))

    def fileno(self) -> int:
        return self._descriptor

    def verify_unchanged(self) -> None:
        """Raise ComputationFailed (source-changed) if the file was written to since it was opened.

        It compares size, times and inode, so it can miss a write within one tick of the clock that the file system
        takes its times from (milliseconds). The modification time alone would not do: whoever owns the file can set
        it back, which changes the time of the last change of status (ctime), and nobody can set that.
        """
        before, now = self._at_opening, os.fstat(self._descriptor)
        if _marks_of(before) != _marks_of(now):
            raise ComputationFailed(
                FailureCode.SOURCE_CHANGED,
                f"the file changed while it was read: {before.st_size} bytes at first, {now.st_size} at the end, and "
                f"last changed {(now.st_ctime_ns - before.st_ctime_ns) / 1e9:.3f} seconds later",
                retriable=True,
            )

    def close(self) -> None:
        """Close the file; harmless when it is closed already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_padded(source: Source, offset: int, length: int) -> bytearray:
    """Read `length` bytes from `offset`, with zeros for what lies past the source's end, as qemu reads metadata."""
    data = bytearray(length)
    if offset < source.size:
        wanted = min(length, source.size - offset)
        read_exactly(source, memoryview(data)[:wanted], offset)
    return data


def read_exactly(source: Source, buffer: memoryview, offset: int) -> None:
    """Fill `buffer` with bytes that must be there, since they lie before the source's end.

    Nothing may be padded here: bytes that the source no longer has would become part of a digest as zeros.
    """
    count = source.readinto(buffer, offset)
    if count != len(buffer):
        raise ComputationFailed(
            FailureCode.SOURCE_CHANGED,
            f"only {count} of {len(buffer)} bytes could be read at byte {offset}; the source had {source.size} bytes",
            retriable=True,
        )


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ComputationFailed(FailureCode.SOURCE_UNREADABLE, "this is not a regular file", retriable=True)


def _marks_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _unreadable(action: str, error: Exception) -> ComputationFailed:
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return ComputationFailed(
        FailureCode.SOURCE_UNREADABLE, f"the file cannot be {action}: {why.lower()}", retriable=True
    )
