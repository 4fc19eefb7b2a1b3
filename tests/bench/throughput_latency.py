"""How soon after Glance's notification a manifest is ready, beside hashing the same file alone."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sqlalchemy import select

from manifest_service.disks.limits import MIB
from manifest_service.manifests.models import Image
from manifest_service.manifests.states import Status
from notifications.glance import GlanceNotifier
from tests.bench.images import IMAGES, make_image
from tests.bench.measuring import measure
from tests.bench.report import how_measured
from tests.bench.throughput_servers import Site, announce, new_ids, new_site, notifier, wait_until
from tests.servers.service import EXECUTABLE, WorkerProcess

TITLE = "From a notification to a manifest"
SMALL_SAMPLES = 20
_CONFIGURED = " --algorithm sha256 --algorithm fsverity-sha256"
"""What workers compute by default."""
_ALLOWED = 1.0
"""Seconds beside the hashing."""


@dataclass(frozen=True)
class Upload:
    """A file to upload, and how often in each round."""

    title: str
    path: Path
    disk_format: str
    samples: int


@dataclass(frozen=True)
class Waited:
    """Medians, and the longest, in seconds: from the notification to the manifest; of `manifest-service digest`, for
    SHA-256 alone and for both digests; and of all that the worker computes, by itself.
    """

    upload: Upload
    ready: float
    longest: float
    digest: float
    digests: float
    everything: float


def measure_latency(rounds: int, large: Path | None = None, small_samples: int = SMALL_SAMPLES) -> str:
    """Upload each file in turn with its digest alone, and give the section of the page. large: a qcow2 file."""
    if large is None:
        large = make_image(next(image for image in IMAGES if image.name == "full-zstd"))
    with new_site() as site:
        small = site.folder / "small"
        small.write_bytes(Random(1).randbytes(MIB))
        uploads = [
            Upload("1 MiB, raw", small, "raw", small_samples),
            Upload(f"{large.stat().st_size / MIB:.0f} MiB, qcow2, zstd", large, "qcow2", 1),
        ]
        with site.listener(), WorkerProcess(site.folder / "worker", site.settings()), notifier(site) as glance:
            waited = [_upload(site, glance, upload, rounds) for upload in uploads]
    return _section(waited, rounds)


def _upload(site: Site, glance: GlanceNotifier, upload: Upload, rounds: int) -> Waited:
    with upload.path.open("rb") as file:
        checksum = hashlib.file_digest(file, "md5").hexdigest()
    described = {"size": upload.path.stat().st_size, "checksum": checksum, "disk_format": upload.disk_format}
    path = shlex.quote(str(upload.path))
    command = f"{shlex.quote(str(EXECUTABLE))} digest {path}"
    alone = f"{shlex.quote(sys.executable)} -m tests.bench.alone {path} {upload.disk_format}"
    ready, digest, digests, everything = [], [], [], []
    for _ in range(rounds):
        digest.append(measure(command).wall)
        digests.append(measure(command + _CONFIGURED).wall)
        everything.append(measure(alone).wall)
        for image_id in new_ids(upload.samples):
            stored = site.store / image_id
            shutil.copyfile(upload.path, stored)  # It is in the page cache from here on.
            time.sleep(Random(image_id).random())  # The worker's looks at the queue do not keep step with us.
            start = time.perf_counter()
            announce(glance, [image_id], **described)
            ready.append(wait_until(lambda: _is_ready(site, image_id)) - start)  # noqa: B023
            stored.unlink()
    medians = [statistics.median(times) for times in (ready, digest, digests, everything)]
    return Waited(upload, medians[0], max(ready), *medians[1:])


def _is_ready(site: Site, image_id: str) -> bool:
    query = select(Image.status).where(Image.image_id == image_id)
    status = site.database.read(lambda connection: connection.execute(query).scalar())
    if status in (Status.FAILED, Status.REFUSED):
        raise SystemExit(f"the image is {status}")
    return status == Status.READY


def _section(waited: Sequence[Waited], rounds: int) -> str:
    lines = [
        f"## {TITLE}",
        "",
        "An image lies in a file store; its `image.upload` goes to RabbitMQ, one listener and one worker take it, and"
        " PostgreSQL holds the manifest: all configured as they come. The worker computes SHA-256, fs-verity's digest,"
        " the block map and the source's MD5 in one pass. Beside it stand one process that computes the same and"
        " nothing else (`everything`), and `manifest-service digest` of the same file, for SHA-256 alone and for both"
        " digests; all have the start of a process in their time. The small image was uploaded"
        f" {waited[0].upload.samples} times in each round. {how_measured(rounds)}",
        "",
        "| image | SHA-256 s | both s | everything s | ready after s, median | longest | beside everything |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in waited:
        hashing = (each.digest, each.digests, each.everything)
        figures = (*hashing, each.ready, each.longest, each.ready - each.everything)
        lines.append(f"| {each.upload.title} | {' | '.join(f'{seconds:.2f}' for seconds in figures)} |")
    return "\n".join([
        *lines,
        "",
        *(
            f"- {each.upload.title}: ready {each.ready - each.everything:.2f} s after all its hashing alone would be"
            f" (target: {_ALLOWED:.0f}), {each.ready - each.digests:.2f} s after its two digests alone, and"
            f" {each.ready - each.digest:.2f} s after SHA-256 alone."
            for each in waited
        ),
        "",
    ])  # fmt: skip
