"""Sources in memory, and what the project makes of an image, in one word."""

import hashlib
from pathlib import Path

from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.limits import DEFAULT_LIMITS, Limits
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource, Source
from manifest_service.errors import ImageRefused


class BytesSource:
    """Bytes as a source; it remembers what was read as (offset, length)."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.reads: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self._data)

    def next_data(self, offset: int) -> range:
        return range(offset, self.size)

    def fileno(self) -> int:
        raise AssertionError("bytes in memory have no descriptor")

    def readinto(self, buffer: memoryview, offset: int) -> int:
        part = self._data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self.reads.append((offset, len(part)))
        return len(part)


def verdict(source: Source, limits: Limits = DEFAULT_LIMITS, disk_format: str = "qcow2") -> str:
    """The SHA-256 of the disk, or the code that the image is refused with."""
    try:
        return compute(open_disk(source, disk_format, limits), source, ["sha256"]).digests["sha256"]
    except ImageRefused as refusal:
        return refusal.code


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_beside_source_digests(image: Path) -> tuple[str, str]:
    """The SHA-256 of the disk in a qcow2 file of qemu's, and of the file itself, from one pass as a worker makes it."""
    with FileSource.open(image) as file, HashedSource(file, ["md5", "sha256"]) as source:
        found = compute(open_disk(source, "qcow2"), source, ["sha256"])
        source_digests = source.finish()
        file.verify_unchanged()
    assert not [warning for warning in found.warnings if "no tool of qemu" in warning]
    return found.digests["sha256"], source_digests["sha256"]
