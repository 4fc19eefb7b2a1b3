"""Computing one manifest: open the source, check it against what Glance recorded, and read it once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from manifest_service.digests import algorithms as known
from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.limits import Limits
from manifest_service.disks.opening import open_image
from manifest_service.disks.source import StoredSource
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, RefusalCode
from manifest_service.images.streams.forward import NOTHING_RECORDED, Recorded
from manifest_service.images.streams.patience import no_tick
from manifest_service.manifests.values import ComputedManifest, Task

BARE_CONTAINERS = frozenset({"bare", "ami", "aki", "ari"})
"""Glance's container formats whose data is the disk file itself."""
UNRECORDED_CHECKSUMS = ("md5", "sha256")
"""What names the source where Glance recorded no checksum that we can compute. It may record an MD5 afterwards."""


class ImageSources(Protocol):
    """Where sources are opened from."""

    def open(
        self, image_id: str, recorded: Recorded = NOTHING_RECORDED, tick: Callable[[], None] = no_tick
    ) -> StoredSource:
        """Open an image's source for reading, or raise ComputationFailed.

        recorded: what Glance records of it. tick: called several times a second while a store is waited for.
        """
        ...

    def more_checksums(self, image_id: str, tick: Callable[[], None]) -> Mapping[str, str]:
        """What Glance records of the source, algorithm → hex, or ComputationFailed."""
        ...


@dataclass(frozen=True)
class ComputationSettings:
    """What to compute, and within which bounds.

    time_limit: seconds for one attempt. scratch_folder: where foreign formats are converted to. block_map_ranges: of
    the largest block map; 0 for none. flat_virtual_size: bytes of the largest disk that flat digests are computed of;
    None for any.
    """

    algorithms: Sequence[str]
    limits: Limits
    time_limit: float
    scratch_folder: str
    block_map_ranges: int = 0
    flat_virtual_size: int | None = None

    def algorithms_for(self, virtual_size: int) -> Sequence[str]:
        """The algorithms to compute of a disk of so many bytes."""
        if self.flat_virtual_size is None or virtual_size <= self.flat_virtual_size:
            return self.algorithms
        return [algorithm for algorithm in self.algorithms if algorithm in known.sparse()]


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
    watch = _Watch(settings.time_limit, progress)
    task = _with_more_checksums(task, sources, watch.tick)
    algorithms = sorted(algorithm for algorithm in task.expected_checksums if algorithm in known.flat())
    with sources.open(task.image_id, Recorded(task.expected_size, bool(algorithms)), watch.tick) as source:
        _require_size(source, task.expected_size)
        with HashedSource(source, algorithms or UNRECORDED_CHECKSUMS, watch.tick) as hashed:
            try:
                with open_image(hashed, disk_format, settings.limits, settings.scratch_folder, watch.tick) as image:
                    wanted = settings.algorithms_for(image.disk.virtual_size)
                    disk_digests = compute(
                        image.disk,
                        image.source,
                        wanted,
                        block_map_ranges=settings.block_map_ranges,
                        progress=watch.report,
                    )
            except ImageRefused:
                # Damaged in the store or bad from the start? Only the second is the content's own fault.
                checksums = hashed.finish()
                source.verify_unchanged()
                _require_checksums(checksums, task.expected_checksums)
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
            warnings=(*disk_digests.warnings, *_left_out(settings, wanted), *_not_compared(task, algorithms)),
            block_map=None if disk_digests.block_map is None else disk_digests.block_map.as_xml(),
            read_from=source.read_from,
        )


class _Watch:
    """Passes progress on, and ends a computation that takes too long."""

    def __init__(self, time_limit: float, progress: Callable[[int, int], None]) -> None:
        """time_limit: seconds from now."""
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit
        self._progress = progress
        self._last = (0, 0)

    def report(self, done: int, total: int) -> None:
        """Take note of bytes done and total. Raises ComputationFailed (time-limit), and what the progress raises."""
        self._last = (done, total)
        if time.monotonic() > self._deadline:
            reason = f"{done} of {total} bytes were done after {self._time_limit:.0f} seconds"
            raise ComputationFailed(FailureCode.TIME_LIMIT, reason, retriable=True)
        self._progress(done, total)

    def tick(self) -> None:
        """Time has gone by, and no more bytes are done. Raises as `report`."""
        self.report(*self._last)


def _left_out(settings: ComputationSettings, computed: Sequence[str]) -> Iterator[str]:
    """A sentence where flat digests were left out because of the disk's size."""
    missing = [algorithm for algorithm in settings.algorithms if algorithm not in computed]
    if missing:
        yield (
            f"Not computed, since the disk has more than {settings.flat_virtual_size} bytes"
            f" ([digests] flat_virtual_size): {', '.join(missing)}."
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


def _with_more_checksums(task: Task, sources: ImageSources, tick: Callable[[], None]) -> Task:
    """The task with Glance's os_hash_value, which a notification leaves out: it has nothing but the MD5."""
    if set(task.expected_checksums) - {"md5"}:
        return task
    more = sources.more_checksums(task.image_id, tick)
    return replace(task, expected_checksums={**more, **task.expected_checksums})


def _require_size(source: StoredSource, expected: int | None) -> None:
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


def _not_compared(task: Task, compared: Sequence[str]) -> Iterator[str]:
    """A sentence where Glance recorded a hash that this installation cannot compute."""
    unknown = sorted(set(task.expected_checksums) - set(compared))
    if unknown:
        yield f"Not compared with what Glance recorded, for want of the algorithm: {', '.join(unknown)}."
