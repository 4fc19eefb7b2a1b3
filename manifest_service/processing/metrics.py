"""Figures of one worker process, kept by prometheus_client; docs/metrics.md explains each.

Nothing is counted per cluster or per read: a figure changes a few times for each image.
"""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from manifest_service.errors import FailureCode, RefusalCode


class Outcome(StrEnum):
    """What became of an attempt at an image. The values are labels."""

    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    RETRIED = "retried"
    RETURNED = "returned"
    STARTED_OVER = "started-over"
    LEASE_LOST = "lease-lost"
    BROKEN = "broken"


ATTEMPTS = Counter("manifest_service_attempts", "Attempts at images, by what became of them.", ["outcome"])
ATTEMPT_ERRORS = Counter("manifest_service_attempt_errors", "Attempts that gave no manifest, by code.", ["code"])
ATTEMPT_SECONDS = Histogram(
    "manifest_service_attempt_seconds",
    "Time from an image's claim to its end.",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600),
)
SOURCE_BYTES = Counter("manifest_service_source_bytes", "Bytes of sources that manifests were computed from.")
DISK_BYTES = Counter("manifest_service_disk_bytes", "Bytes of disks, zeros included, that manifests were computed of.")
UNDER_WAY = Gauge("manifest_service_attempts_under_way", "Images that this process computes now.")
RENEWAL_FAILURES = Counter(
    "manifest_service_lease_renewal_failures", "Renewals of a lease, an image's or a duty's, that failed."
)
WORKERS = Gauge("manifest_service_workers", "Images that this process computes at a time at most.")
SIGNS = Gauge("manifest_service_signing_key_loaded", "1 where this process signs its manifests' statements.")
SCRATCH_SIZE = Gauge("manifest_service_scratch_size_bytes", "Size of the file system of [DEFAULT] scratch_path.")
SCRATCH_FREE = Gauge("manifest_service_scratch_free_bytes", "What is free there for this process's user.")

# There from the start, at zero: an alert can tell "none" from "no such metric".
for _outcome in Outcome:
    ATTEMPTS.labels(_outcome)
for _code in (*FailureCode, *RefusalCode):
    ATTEMPT_ERRORS.labels(_code)


def watch_scratch(folder: Path) -> None:
    """Have the scratch folder's file system looked at whenever the figures are asked for."""
    SCRATCH_SIZE.set_function(lambda: shutil.disk_usage(folder).total)
    SCRATCH_FREE.set_function(lambda: shutil.disk_usage(folder).free)
