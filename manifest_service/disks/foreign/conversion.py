"""A foreign image as a raw file: qemu-img writes its disk to a scratch file that has no name."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from manifest_service.disks.foreign.child import ChildLimits, ChildResult, run_qemu_img
from manifest_service.disks.foreign.inspection import QEMU_DRIVERS, inspect
from manifest_service.disks.limits import Limits
from manifest_service.disks.source import FileSource, Source
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, RefusalCode

_BLOCK = 512
_LARGEST_INFO = 1 << 20
_LARGEST_MAP = 256 << 20
"""Bytes that qemu-img may say. A map has about 100 bytes for each piece of data."""
_LINES_PER_TICK = 1024
_WITH_BACKING = {"vmdk", "qed"}
"""Drivers that could open another image as backing; they are told that there is none."""

Tick = Callable[[], None]
"""Called several times a second while somebody else works. What it raises ends the work and is passed on."""


@contextmanager
def converted(
    source: Source, disk_format: str, limits: Limits, scratch_folder: str | None, tick: Tick
) -> Iterator[FileSource]:
    """The disk of a foreign image as a raw file, which is gone afterwards whatever happens.

    disk_format: one of QEMU_DRIVERS, in Glance's words; the magic number is known to agree.
    scratch_folder: where the disk is written, sparse; None for the system's folder for temporary files.
    Raises ImageRefused for what cannot be trusted or read; ComputationFailed: qemu-img-missing, conversion-limit,
    scratch-full.
    """
    inspect(source, disk_format)
    conversion = _Conversion(source, disk_format, limits, scratch_folder, tick)
    conversion.read_virtual_size()
    conversion.check_tables()
    with _scratch_file(scratch_folder) as scratch:
        conversion.write(scratch.fileno())
        with FileSource(os.dup(scratch.fileno())) as disk:
            yield disk


def _scratch_file(folder: str | None) -> BinaryIO:
    """A file without a name: it goes when it is closed, also if this process is killed."""
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        reason = f"no scratch file can be made in [DEFAULT] scratch_path: {os.strerror(error.errno or 0).lower()}"
        raise ComputationFailed(FailureCode.SCRATCH_FULL, reason, retriable=True) from error


@dataclass
class _Conversion:
    source: Source
    disk_format: str
    limits: Limits
    scratch_folder: str | None
    tick: Tick
    virtual_size: int = 0

    def read_virtual_size(self) -> None:
        """Ask qemu-img how large the disk is; hold it against the limit."""
        with _scratch_file(self.scratch_folder) as output:
            self._run(["info", "--output=json", self._image()], output, _LARGEST_INFO)
            output.seek(0)
            info = _read_json(output.read())
        if "backing-filename" in info:
            raise ImageRefused(RefusalCode.BACKING_FILE, f"qemu-img sees another image behind this {self.disk_format}")
        self.virtual_size = int(info["virtual-size"])
        if self.virtual_size > self.limits.virtual_size:
            raise ImageRefused(
                RefusalCode.VIRTUAL_SIZE_LIMIT,
                f"the disk has {self.virtual_size} bytes, more than the {self.limits.virtual_size} that are allowed",
            )

    def check_tables(self) -> None:
        """Refuse an image whose tables point past its end, where qemu-img would read zeros."""
        if self.virtual_size == 0:
            return
        with _scratch_file(self.scratch_folder) as output:
            self._run(["map", "--output=json", self._image()], output, _LARGEST_MAP)
            output.seek(0)
            end = 0
            for number, line in enumerate(output):
                if number % _LINES_PER_TICK == 0:
                    self.tick()
                # One object a line, which keeps memory bounded: "[{…}," then "{…}," and last "{…}]".
                text = line.strip().strip(b"[],")
                if text:
                    extent = _read_json(text)
                    end = extent["start"] + extent["length"]
                    self._require_within_file(extent)
            if end != self.virtual_size:
                raise _scratch_is_full()  # qemu-img does not tell when it cannot write all it says.

    def _require_within_file(self, extent: dict[str, Any]) -> None:
        start = extent.get("offset")
        if start is not None and start + extent["length"] > _round_up(self.source.size):
            raise ImageRefused(
                RefusalCode.TRUNCATED,
                f"{extent['length']} bytes of data are said to be at byte {start}, but the file ends at byte"
                f" {self.source.size}",
            )

    def write(self, scratch: int) -> None:
        """Have the disk written to the scratch file, whose holes are its zeros."""
        os.ftruncate(scratch, self.virtual_size)
        if self.virtual_size == 0:
            return
        arguments = ["convert", "-n", "--target-is-zero", "-O", "raw", self._image(), f"/dev/fd/{scratch}"]
        with _scratch_file(self.scratch_folder) as output:
            self._run(arguments, output, self.virtual_size, scratch)
        self._require_scratch_within_limit(scratch)  # Nobody has looked since shortly before its end.
        # Some file systems tell data from holes only once it is written back.
        os.fsync(scratch)

    def _image(self) -> str:
        """How qemu-img is to open the image: as this format, by our descriptor, without looking for others."""
        driver = QEMU_DRIVERS[self.disk_format]
        file = {"driver": "file", "filename": f"/dev/fd/{self.source.fileno()}", "locking": "off"}
        options: dict[str, Any] = {"driver": driver, "file": file}
        if driver in _WITH_BACKING:
            options["backing"] = None
        return "json:" + json.dumps(options)

    def _run(self, arguments: list[str], output: BinaryIO, file_size: int, scratch: int | None = None) -> None:
        """Run qemu-img. file_size: bytes that a file which it writes may have."""
        limits = ChildLimits(self.limits.conversion_memory, self.limits.conversion_time, file_size)

        def tick() -> None:
            self.tick()
            if scratch is not None:
                self._require_scratch_within_limit(scratch)

        descriptors = [self.source.fileno(), *([] if scratch is None else [scratch])]
        result = run_qemu_img(arguments, descriptors, output, limits, tick)
        if result.exit_code != 0:
            self._raise_failure(arguments[0], result)

    def _require_scratch_within_limit(self, scratch: int) -> None:
        written = os.fstat(scratch).st_blocks * _BLOCK
        if written > self.limits.scratch_size:
            raise ComputationFailed(
                FailureCode.CONVERSION_LIMIT,
                f"the conversion has written {written} bytes of scratch; {self.limits.scratch_size} are allowed",
                retriable=False,
            )

    def _raise_failure(self, command: str, result: ChildResult) -> None:
        if os.strerror(errno.ENOSPC) in result.errors:
            raise _scratch_is_full()
        # Its own words may quote the image, escape sequences included.
        raise ImageRefused(
            RefusalCode.CORRUPT_DATA,
            f"qemu-img cannot read this {self.disk_format} image: `qemu-img {command}` ended with {result.exit_code}",
        )


def _read_json(text: bytes) -> dict[str, Any]:
    """What qemu-img said. It does not tell when the file system is full and what it says is cut."""
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise _scratch_is_full() from error
    return said


def _scratch_is_full() -> ComputationFailed:
    return ComputationFailed(
        FailureCode.SCRATCH_FULL, "the file system of scratch files ([DEFAULT] scratch_path) is full", retriable=True
    )


def _round_up(size: int) -> int:
    """A file may end inside its last sector."""
    return -(-size // _BLOCK) * _BLOCK
