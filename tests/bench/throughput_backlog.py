"""A backlog of small images with large ones in front of it, and how workers get through it."""

from __future__ import annotations

import hashlib
import os
import random
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from manifest_service.disks.limits import MIB
from manifest_service.manifests import intake
from manifest_service.manifests.models import Event, Manifest
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import LARGE_SIZE as LARGE_FROM
from manifest_service.manifests.values import ImageObservation
from manifest_service.manifests.work_models import QueueEntry
from tests.bench.api_lookups import percentile
from tests.bench.measuring import cpu_seconds
from tests.bench.report import how_measured
from tests.bench.throughput_servers import Site, new_ids, new_site, wait_until
from tests.servers.service import WorkerProcess

TITLE = "A backlog of 10,000 images"
IMAGES = 10_000
WORKERS = (1, 2, 4)
LARGE_IMAGES = 4
LARGE_SIZE = 4096 * MIB
SMALL_SIZE = 64 * 1024
_AT_ONCE = 500
"""Images that one transaction takes in."""


@dataclass(frozen=True)
class Worked:
    """One run. Times in seconds: from the first image's start to the last one's end, CPU for each image, and how long
    images waited for a worker; large_time: what one large image takes.
    """

    workers: int
    seconds: float
    worker_cpu: float
    database_cpu: float
    small_waits: Sequence[float]
    large_waits: Sequence[float]
    large_time: float


def measure_backlog(images: int = IMAGES, workers: Sequence[int] = WORKERS, large_size: int = LARGE_SIZE) -> str:
    """Work through the same backlog with each number of worker processes, and give the section of the page."""
    runs = []
    for count in workers:
        with new_site() as site:
            _fill(site, images, large_size)
            runs.append(_work(site, count))
    return _section(runs, images, large_size)


def _fill(site: Site, images: int, large_size: int) -> None:
    """Put sources into the store, and their images into the queue, the large ones first."""
    large, small = site.folder / "large", site.folder / "small"
    with large.open("wb") as file:
        file.truncate(large_size)
    small.write_bytes(random.Random(1).randbytes(SMALL_SIZE))
    for source, count in ((large, LARGE_IMAGES), (small, images)):
        with source.open("rb") as file:
            checksum = hashlib.file_digest(file, "md5").hexdigest()
        seen = [_uploaded(site, source, image_id, checksum) for image_id in new_ids(count)]
        for start in range(0, count, _AT_ONCE):
            part = seen[start : start + _AT_ONCE]
            site.database.transaction(lambda session: intake.observe_all(session, part))  # noqa: B023


def _uploaded(site: Site, source: Path, image_id: str, checksum: str) -> ImageObservation:
    os.link(source, site.store / image_id)
    now = datetime.now(UTC)
    return ImageObservation(
        image_id=image_id,
        status="active",
        updated_at=now,
        observed_at=now,
        disk_format="raw",
        container_format="bare",
        size=source.stat().st_size,
        checksums={"md5": checksum},
    )


def _work(site: Site, workers: int) -> Worked:
    """Start workers, wait until the queue is empty, and read in the history what happened when."""
    images = site.count_images()
    with ExitStack() as stack:
        processes = [WorkerProcess(site.folder / f"worker-{number}", site.settings()) for number in range(workers)]
        database_before = cpu_seconds(site.server.pid)
        with ThreadPoolExecutor(workers) as starting:
            list(starting.map(stack.enter_context, processes))
        wait_until(lambda: _left(site) == 0)
        cpu = sum(cpu_seconds(process.pid) for process in processes)
        database_cpu = cpu_seconds(site.server.pid) - database_before
    with site.database.engine.connect() as connection:
        begun = _times_of(connection, EventKind.COMPUTATION_STARTED)
        ready = _times_of(connection, EventKind.READY)
        large = set(connection.scalars(select(Manifest.image_id).where(Manifest.source_size >= LARGE_FROM)))
    if len(ready) != images:
        raise SystemExit(f"only {len(ready)} of {images} images are ready")
    first = min(begun.values())
    # All had been uploaded before the first worker started; from then on they wait.
    waits = {image_id: (at - first).total_seconds() for image_id, at in begun.items()}
    return Worked(
        workers=workers,
        seconds=(max(ready.values()) - first).total_seconds(),
        worker_cpu=cpu / images,
        database_cpu=database_cpu / images,
        small_waits=[wait for image_id, wait in waits.items() if image_id not in large],
        large_waits=[waits[image_id] for image_id in large],
        large_time=statistics.median((ready[image_id] - begun[image_id]).total_seconds() for image_id in large),
    )


def _times_of(connection: Connection, kind: EventKind) -> dict[str, datetime]:
    """When something happened, by image."""
    query = select(Event.image_id, Event.at).where(Event.kind == kind)
    return {str(image_id): at for image_id, at in connection.execute(query)}


def _left(site: Site) -> int:
    query = select(func.count()).select_from(QueueEntry)
    return site.database.read(lambda connection: connection.execute(query).scalar_one())


def _section(runs: Sequence[Worked], images: int, large_size: int) -> str:
    lines = [
        f"## {TITLE}",
        "",
        f"{LARGE_IMAGES} images of {large_size / MIB:.0f} MiB wait in the queue, and behind them {images} of"
        f" {SMALL_SIZE // 1024} KiB, when `manifest-service worker` starts: one, two or four processes, configured as"
        " they come. Waiting is counted from the moment when the first image is begun. The first small image shows"
        f" whether large ones hold it up. {how_measured(1)}",
        "",
        "| workers | images/s | the workers' CPU ms for each | PostgreSQL's | first small one waits s | small: p50 s |"
        " p99 s | large: p50 s | longest s | one large one takes s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        small, large = run.small_waits, run.large_waits
        waits = (min(small), percentile(small, 0.5), percentile(small, 0.99), percentile(large, 0.5), max(large))
        figures = " | ".join(f"{seconds:.1f}" for seconds in (*waits, run.large_time))
        lines.append(
            f"| {run.workers} | {(images + LARGE_IMAGES) / run.seconds:.0f} | {1000 * run.worker_cpu:.1f} |"
            f" {1000 * run.database_cpu:.1f} | {figures} |"
        )
    return "\n".join([*lines, "", *_findings(runs), ""])


def _findings(runs: Sequence[Worked]) -> Sequence[str]:
    told = []
    for run in runs:
        name = "One worker begins" if run.workers == 1 else f"{run.workers} workers begin"
        told.append(
            f"- {name} the first small image {min(run.small_waits):.1f} s after the first large one; all large ones"
            f" take {LARGE_IMAGES * run.large_time:.1f} s of a worker."
        )
    return told
