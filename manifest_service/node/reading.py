"""Reading files without getting into anybody's way: guests run on this machine, and need its memory and its disks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time

from manifest_service.disks.source import FileSource, Source


class PoliteFileSource(FileSource):
    """A file whose pages go as they came, and that is read no faster than it may be.

    What is in the page cache already is taken from there and left there: a guest may be using it. What we had to read
    from the disk is dropped right away (posix_fadvise, POSIX_FADV_DONTNEED).
    """

    _pace: Pace | None = None

    def keep_pace(self, pace: Pace | None) -> None:
        """Read as `pace` allows from now on. None: as fast as it goes."""
        self._pace = pace
        # Readahead would bring pages in that we could not tell from those of others.
        os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def _read(self, space: memoryview, offset: int) -> int:
        try:
            count = os.preadv(self.fileno(), [space], offset, os.RWF_NOWAIT)
        except OSError as error:
            # EAGAIN: not in the page cache. EOPNOTSUPP: a file system that cannot tell.
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            count = 0
        if count:
            return count
        if self._pace is not None:
            self._pace.wait_for(len(space))
        count = super()._read(space, offset)
        os.posix_fadvise(self.fileno(), offset, count, os.POSIX_FADV_DONTNEED)
        return count


class Pace:
    """So many bytes a second, over all files that share it."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._free_at = time.monotonic()

    def wait_for(self, length: int) -> None:
        """Wait until so many bytes may be read; the first ones may be at once."""
        now = time.monotonic()
        if self._free_at > now:
            time.sleep(self._free_at - now)
        self._free_at = max(self._free_at, now) + length / self._rate


class Prefix:
    """The first bytes of a source, as a source."""

    def __init__(self, source: Source, size: int) -> None:
        """size: how many bytes; the source must have as many."""
        self._source = source
        self.size = size

    def readinto(self, buffer: memoryview, offset: int) -> int:
        return self._source.readinto(buffer[: max(0, self.size - offset)], offset)

    def next_data(self, offset: int) -> range:
        data = self._source.next_data(offset)
        return range(min(data.start, self.size), min(data.stop, self.size))

    def fileno(self) -> int:
        return self._source.fileno()


def take_idle_priority() -> bool:
    """Have the disks serve others first, from now on and for all of this process; False where that cannot be had."""
    ionice = shutil.which("ionice")
    if ionice is None:
        return False
    command = [ionice, "-c", "idle", "-p", str(os.getpid())]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - no shell, nothing from outside  # nosec B603
