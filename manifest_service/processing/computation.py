"""Computing one manifest: open the source, check it against what Glance recorded, and read it once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.limits import Limits
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, RefusalCode
from manifest_service.manifests.values import ComputedManifest, Task

BARE_CONTAINERS = frozenset({"bare", "ami", "aki", "ari"})
"""Glance's container formats whose data is the disk file itself."""
UNRECORDED_CHECKSUM = "sha256"
"""What names the source where Glance recorded no checksum that we can compute."""


class ImageSources(Protocol):
    """Where sources are opened from."""

    def open(self, image_id: str) -> FileSource:
        """Open an image's source for reading, or raise ComputationFailed."""
        ...


@dataclass(frozen=True)
class ComputationSettings:
    """What to compute, and within which bounds. time_limit: seconds for one attempt."""

    algorithms: Sequence[str]
    limits: Limits
    time_limit: float


def compute_manifest(
    task: Task,
    sources: ImageSources,
    settings: ComputationSettings,
    progress: Callable[[int, int], None],
) -> ComputedManifest:
    """Compute the manifest of a task's image.

    progress: called now and then with bytes done and total; what it raises ends the computation.
    Raises ImageRefused, or ComputationFailed: what the store holds is not what Glance recorded, or cannot be read.
    """
    disk_format = _require_disk_file(task)
    deadline = time.monotonic() + settings.time_limit

    def report(done: int, total: int) -> None:
        if time.monotonic() > deadline:
            reason = f"{done} of {total} bytes were done after {settings.time_limit:.0f} seconds"
            raise ComputationFailed(FailureCode.TIME_LIMIT, reason, retriable=True)
        progress(done, total)

    with sources.open(task.image_id) as source:
        _require_size(source, task.expected_size)
        algorithms = sorted(algorithm for algorithm in task.expected_checksums if _is_known(algorithm))
        with HashedSource(source, algorithms or [UNRECORDED_CHECKSUM]) as hashed:
            try:
                disk = open_disk(hashed, disk_format, settings.limits)
                disk_digests = compute(disk, hashed, settings.algorithms, progress=report)
            except ImageRefused:
                # Damaged in the store or bad from the start? Only the second is the content's own fault.
                _require_checksums(hashed.finish(), task.expected_checksums)
                raise
            checksums = hashed.finish()
        source.verify_unchanged()
        _require_checksums(checksums, task.expected_checksums)
        return ComputedManifest(
            disk_format=disk_format,
            virtual_size=disk_digests.virtual_size,
            digests=disk_digests.digests,
            source_size=source.size,
            source_checksums=checksums,
            warnings=disk_digests.warnings,
        )


def _require_disk_file(task: Task) -> str:
    """The task's disk_format, where its data is a disk file at all."""
    if task.container_format not in BARE_CONTAINERS:
        raise ImageRefused(
            RefusalCode.UNSUPPORTED_CONTAINER,
            f"the container_format is {task.container_format or 'not set'}: the data is not the disk file itself",
        )
    if task.disk_format is None:
        raise ImageRefused(RefusalCode.UNSUPPORTED_FORMAT, "the image has no disk_format")
    return task.disk_format


def _require_size(source: FileSource, expected: int | None) -> None:
    """Compare the size first: it costs nothing, and a wrong one needs no reading."""
    if expected is not None and source.size != expected:
        raise ComputationFailed(
            FailureCode.SOURCE_MISMATCH,
            f"the store holds {source.size} bytes, Glance recorded {expected}",
            retriable=False,
        )


def _require_checksums(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for algorithm, value in found.items():
        recorded = expected.get(algorithm, value)
        if recorded != value:
            raise ComputationFailed(
                FailureCode.SOURCE_MISMATCH,
                f"the {algorithm} of the bytes in the store is {value}, Glance recorded {recorded}",
                retriable=False,
            )


def _is_known(algorithm: str) -> bool:
    """Whether hashlib computes it to a fixed length: Glance's os_hash_algo is any of hashlib's by configuration."""
    return algorithm in hashlib.algorithms_available and not algorithm.startswith("shake")
