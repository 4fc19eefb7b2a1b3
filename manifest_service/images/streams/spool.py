"""A source that must be kept whole, in a scratch file without a name and with its room reserved."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import NoReturn

from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.errors import ComputationFailed, FailureCode


@dataclass(frozen=True)
class SpoolSettings:
    """folder: where. largest: bytes of the largest source. reserve: bytes of the file system that stay free."""

    folder: str | None = None
    largest: int = DEFAULT_LIMITS.scratch_size
    reserve: int = 1 << 30


class Spool:
    """A file that fills from its first byte on, and goes when it is closed, also if this process is killed."""

    def __init__(self, settings: SpoolSettings, size: int) -> None:
        """Reserve room for `size` bytes. Raises ComputationFailed: spool-limit, scratch-full."""
        if size > settings.largest:
            raise ComputationFailed(
                FailureCode.SPOOL_LIMIT,
                f"the source has {size} bytes and must be kept whole, since its tables lie behind its data or its"
                f" format is one for qemu-img; {settings.largest} bytes are allowed",
                retriable=False,
            )
        self.filled = 0
        try:
            self._file = tempfile.TemporaryFile(dir=settings.folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            _raise_full(error, "no scratch file can be made")
        try:
            self._reserve(settings, size)
        except BaseException:
            self._file.close()
            raise

    def append(self, data: memoryview) -> None:
        """Take in the next bytes. Raises ComputationFailed (scratch-full)."""
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self.fileno(), data[done:], self.filled + done)
            except OSError as error:
                _raise_full(error, "the scratch file cannot be written")
        self.filled += len(data)

    def readinto(self, space: memoryview, offset: int) -> None:
        """Fill `space` with bytes that have been taken in. Raises ComputationFailed."""
        done = 0
        while done < len(space):
            try:
                count = os.preadv(self.fileno(), [space[done:]], offset + done)
            except OSError as error:
                _raise_full(error, "the scratch file cannot be read")
            if count == 0:
                raise ValueError(f"byte {offset + done} of the spool was asked for; {self.filled} are there")
            done += count

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _reserve(self, settings: SpoolSettings, size: int) -> None:
        """Reserve first and look afterwards: what several workers take at the same time is then counted for each."""
        try:
            if size:
                os.posix_fallocate(self.fileno(), 0, size)
            found = os.fstatvfs(self.fileno())
        except OSError as error:
            _raise_full(error, f"there is no room for {size} bytes")
        if found.f_bavail * found.f_frsize < settings.reserve:
            raise ComputationFailed(
                FailureCode.SCRATCH_FULL,
                f"with {size} bytes for this source, less than the {settings.reserve} bytes of [limits] scratch_reserve"
                " would be free in [DEFAULT] scratch_path",
                retriable=True,
            )


def _raise_full(error: OSError, what: str) -> NoReturn:
    reason = f"{what} in [DEFAULT] scratch_path: {os.strerror(error.errno or 0).lower()}"
    raise ComputationFailed(FailureCode.SCRATCH_FULL, reason, retriable=True) from error
