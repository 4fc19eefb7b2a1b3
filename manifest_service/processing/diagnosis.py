"""What is wrong, told from an overview: each with what to do next. docs/observing.md explains each code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from manifest_service.errors import FailureCode
from manifest_service.processing import reconcile
from manifest_service.processing.overview import Overview
from manifest_service.shown import counted
from manifest_service.verdicts import Verdict

LONG_WAIT = 3600.0
"""Seconds after which an entry that nobody has taken has waited too long."""
FAILED_RUNS = 3
"""Failed runs of a duty in a row that are no mere hiccup: its first retry comes after half a minute."""
LATE = 2
"""Intervals after which a duty's last run is too long ago."""
HICCUP = timedelta(minutes=5)
"""That a duty may be late besides: its processes were just started, or it is being tried again."""


class Severity(StrEnum):
    """Whether somebody should act, or only know. The values are part of the output."""

    PROBLEM = "problem"
    NOTICE = "notice"


class Check(StrEnum):
    """What was looked at. The values are part of the output."""

    DATABASE = "database"
    QUEUE = "queue"
    WORKERS = "workers"
    LISTENERS = "listeners"
    BROKER = "broker"
    SIGNING = "signing"
    DUTIES = "duties"
    IMAGES = "images"
    NODES = "nodes"


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be. code: stable. told: one sentence."""

    check: Check
    code: str
    told: str
    next_step: str
    severity: Severity = Severity.PROBLEM


@dataclass(frozen=True)
class Expectations:
    """What the configuration says that there should be.

    listeners: whether notifications are listened to. intervals: duty → seconds from one run to the next.
    """

    listeners: bool = True
    intervals: Mapping[str, float] = field(default_factory=dict)


def diagnose(seen: Overview, expected: Expectations) -> list[Problem]:
    """What is wrong, the checks in their order."""
    return [
        *_queue(seen),
        *_workers(seen),
        *_listeners(seen, expected),
        *_signing(seen),
        *_duties(seen, expected),
        *_images(seen),
        *_nodes(seen),
    ]


def _queue(seen: Overview) -> Iterator[Problem]:
    oldest = seen.queue.oldest_waiting
    if oldest is not None and oldest.age > LONG_WAIT:
        yield Problem(
            Check.QUEUE,
            "queue-old",
            f"image {oldest.image_id} has waited for {counted(round(oldest.age / 60), 'minute')}"
            + (f", after {counted(oldest.attempts, 'attempt')} ({oldest.code})" if oldest.code else ""),
            "Start more workers, or look at why images take so long; a code says what its last attempt failed with.",
        )


def _workers(seen: Overview) -> Iterator[Problem]:
    if not seen.parts("worker"):
        yield Problem(
            Check.WORKERS,
            "no-worker",
            f"no worker runs; {counted(seen.queue.length, 'image waits', 'images wait')}",
            "Start `manifest-service worker`; where one should run, its log says why it does not.",
        )
    silent = [process for process in seen.processes if not process.lives]
    if silent:
        yield Problem(
            Check.WORKERS,
            "process-silent",
            f"{counted(len(silent), 'process', 'processes')} ended without a word within the last hour, or"
            " cannot reach the database",
            "`manifest-service status` says which. Look at their logs, and at the kernel's (out of memory?).",
            Severity.NOTICE,
        )


def _listeners(seen: Overview, expected: Expectations) -> Iterator[Problem]:
    listeners = seen.parts("listener")
    if not listeners and expected.listeners:
        yield Problem(
            Check.LISTENERS,
            "no-listener",
            "no listener runs: uploads are noticed by reconciling alone",
            "Start `manifest-service listener`; where one should run, its log says why it does not.",
        )
    if seen.deaf_listeners:
        yield Problem(
            Check.BROKER,
            "broker-away",
            f"{len(seen.deaf_listeners)} of {counted(len(listeners), 'listener')} cannot reach the broker,"
            " or may not log in",
            "Look at RabbitMQ, and at the listener's log for what it answers; [DEFAULT] transport_url names it.",
        )


def _signing(seen: Overview) -> Iterator[Problem]:
    workers = seen.parts("worker")
    without = [part for part in workers if not part.get("signing_key")]
    if without and seen.has_keys:
        yield Problem(
            Check.SIGNING,
            "worker-without-key",
            f"{len(without)} of {counted(len(workers), 'worker process', 'worker processes')} cannot sign statements,"
            " though some have been signed",
            "Set [attestations] signing_key for all workers, and start them again.",
        )


def _duties(seen: Overview, expected: Expectations) -> Iterator[Problem]:
    for duty in seen.duties:
        if duty.failed_runs >= FAILED_RUNS:
            yield Problem(
                Check.DUTIES,
                "duty-failing",
                f"{duty.name} has failed {counted(duty.failed_runs, 'time')} in a row:"
                f" {duty.outcome.get('code', 'unknown')}",
                f"`manifest-service {duty.name}` does it now and says what is wrong.",
            )
        limit = timedelta(seconds=LATE * expected.intervals.get(duty.name, 0)) + HICCUP
        is_late = duty.ended_at is not None and seen.at - duty.ended_at > limit
        if duty.name in expected.intervals and is_late and not duty.is_held:
            yield Problem(
                Check.DUTIES,
                "duty-late",
                f"{duty.name} was last done at {duty.ended_at:%Y-%m-%d %H:%M} UTC, and nobody is at it",
                "A worker process does it: is one running, with [reconcile] and [glance] in its configuration?",
            )
        if duty.name == reconcile.NAME and duty.state.get("held_back"):
            yield Problem(
                Check.DUTIES,
                "deletions-held-back",
                f"images are gone from Glance and not marked as deleted: {duty.state['held_back']}",
                "docs/operating.md, Reconciling, says what each code means.",
            )


def _images(seen: Overview) -> Iterator[Problem]:
    for each in seen.failures:
        if each.code in (FailureCode.SOURCE_MISMATCH, FailureCode.SOURCE_CHANGED):
            yield Problem(
                Check.IMAGES,
                each.code,
                f"{counted(each.images, 'image is', 'images are')} not in the store what Glance recorded ({each.code})",
                "`GET /v1/manifests?status=failed` lists them; find out who wrote to the store.",
            )
        elif each.code == FailureCode.INTERNAL_ERROR:
            yield Problem(
                Check.IMAGES,
                each.code,
                f"{counted(each.images, 'image')} failed by a defect of the service",
                "Report it with the worker's log; the request id in the image's history leads to its lines.",
            )
    if seen.last_failures:
        codes = sorted({event.code for event in seen.last_failures})
        yield Problem(
            Check.IMAGES,
            "images-failed",
            f"images failed within the last day, the last of them with: {', '.join(codes)}",
            "docs/codes.md says what each code means; `POST …/computations` asks for an image again.",
            Severity.NOTICE,
        )
    for found in seen.findings:
        if found.recent:
            yield Problem(
                Check.IMAGES,
                f"{found.kind}-found",
                f"{counted(found.recent, 'time')} within the last day, an image was found to have"
                f" changed ({found.kind})",
                f"`GET /v1/events?kind={found.kind}` says which and where; find out who wrote there.",
            )


def _nodes(seen: Overview) -> Iterator[Problem]:
    corrupt = seen.node_files.get(Verdict.CORRUPT, 0)
    if corrupt:
        yield Problem(
            Check.NODES,
            "corrupt-files",
            counted(corrupt, "file on compute nodes is not what it", "files on compute nodes are not what they")
            + " should be",
            "`GET /v1/verifications?latest=true&verdict=corrupt` says which; take those nodes out before guests start.",
        )
