"""Putting together what one process does for all: reconciling with Glance, and scrubbing."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from oslo_config import cfg
from oslo_log import log

from manifest_service.errors import DownloadFailed, ManifestServiceError, UsageError
from manifest_service.images.glance_list import GlanceList
from manifest_service.images.glance_session import make_glance_api
from manifest_service.manifests.database import Database
from manifest_service.processing.computation import ImageSources
from manifest_service.processing.duties import DutyLost, Terms, Work, run_once
from manifest_service.processing.duty_threads import DutyThreads, Scheduled
from manifest_service.processing.lease import StopAsked
from manifest_service.processing.reconcile import Reconcile, ReconcileSettings
from manifest_service.processing.scrub import Scrub, ScrubSettings
from manifest_service.processing.sharing import Sharing

LOG = log.getLogger(__name__)

LONGEST_SCRUB_PAUSE = 60.0
"""Seconds between two looks at whether a source is to be read again."""
EXIT_INTERRUPTED = 130


def make_duties(
    conf: cfg.ConfigOpts, database: Database, sources: ImageSources, *, has_glance: bool = True
) -> DutyThreads:
    """What a worker process does beside computing, as [reconcile], [scrub] and [glance] say. Raises UsageError.

    has_glance: whether there is a Glance at all, as against `serve` with nothing but itself.
    """
    stop = threading.Event()
    images = find_glance(conf, stop)
    duties = []
    if conf.reconcile.interval > 0:
        if images is None and has_glance:
            LOG.warning("no [glance] auth_type is set: missed uploads and deletions are not found by reconciling")
        duties.append(Scheduled(make_reconcile(conf, database, images), conf.reconcile.interval))
    if conf.scrub.bytes_per_day > 0:
        duties.append(
            Scheduled(make_scrub(conf, database, sources, images), min(conf.scrub.interval, LONGEST_SCRUB_PAUSE))
        )
    return DutyThreads(database, duties, make_terms(conf), stop)


def make_terms(conf: cfg.ConfigOpts) -> Terms:
    """Who we are, and how long a claim of ours holds."""
    return Terms(f"{socket.gethostname()}:{os.getpid()}", timedelta(seconds=conf.worker.lease))


def make_reconcile(
    conf: cfg.ConfigOpts, database: Database, images: GlanceList | None, *, any_loss: bool = False
) -> Reconcile:
    """The duty to reconcile. any_loss: mark as deleted whatever is gone, however much."""
    loss = 100.0 if any_loss else conf.reconcile.largest_loss
    settings = ReconcileSettings(conf.reconcile.rate, loss)
    return Reconcile(database, images, settings, make_sharing(conf, database, images))


def make_sharing(conf: cfg.ConfigOpts, database: Database, images: GlanceList | None) -> Sharing | None:
    """What takes in the members of shared images; None where nobody needs to know them."""
    is_wanted = conf.api.auth_strategy == "keystone" if conf.reconcile.members is None else conf.reconcile.members
    return Sharing(database, images) if is_wanted and images is not None else None


def make_scrub(
    conf: cfg.ConfigOpts,
    database: Database,
    sources: ImageSources,
    images: GlanceList | None,
    image_id: str | None = None,
) -> Scrub:
    """The duty to scrub; image_id: this image alone."""
    section = conf.scrub
    settings = ScrubSettings(
        section.bytes_per_day or None, section.rate, section.interval, conf.limits.computation_time
    )
    return Scrub(database, sources, images, settings, image_id)


def find_glance(conf: cfg.ConfigOpts, stop: threading.Event) -> GlanceList | None:
    """The list of [glance]; None where `auth_type` is not set. stop: ends waiting for it. Raises UsageError."""
    glance = make_glance_api(conf)
    return None if glance is None else GlanceList(glance, stop.wait)


def require_glance(conf: cfg.ConfigOpts, stop: threading.Event) -> GlanceList:
    """The list of [glance]. Raises UsageError."""
    images = find_glance(conf, stop)
    if images is None:
        raise UsageError(
            "bad-configuration",
            "Glance cannot be asked: set [glance] auth_type, auth_url and the rest, as for any OpenStack service",
        )
    return images


@contextmanager
def asking_glance() -> Iterator[None]:
    """Tell what went wrong with Glance in words that fit [glance], and not `fetch`, which has options of its own."""
    try:
        yield
    except DownloadFailed as error:
        raise _in_our_words(error) from error


def _in_our_words(error: ManifestServiceError) -> ManifestServiceError:
    if not isinstance(error, DownloadFailed):
        return error
    return ManifestServiceError(error.code, f"{error.reason}. Glance is asked as [glance] says")


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set, for long work to end in good order; a second one ends at once."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before: dict[int, Any] = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_now(conf: cfg.ConfigOpts, database: Database, work: Work, stop: threading.Event) -> dict[str, Any] | None:
    """Do a duty now, whether it is due or not, and say what came of it; None where somebody asked for the end.

    Raises the error that it failed with, and ManifestServiceError (duty-held) where another process is at it.
    """
    try:
        run = run_once(database, work, make_terms(conf), stop)
    except StopAsked:
        return None
    except DutyLost:
        run = None
    if run is None:
        raise ManifestServiceError(
            "duty-held", f"another process is at it ({work.name}) just now: wait until it has ended"
        )
    if run.error is not None:
        raise _in_our_words(run.error)
    return dict(run.outcome)
