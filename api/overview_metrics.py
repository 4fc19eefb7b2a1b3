"""Figures of the whole service, wherever its processes run; docs/metrics.md explains each."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.duty_metrics import read_duties
from manifest_service.errors import FailureCode
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.states import EventKind, Status
from manifest_service.processing import overview
from manifest_service.processing.overview import Overview, Queue

PARTS = ("listener", "worker", "api")


class OverviewCollector(Collector):
    """Reads them from the database when they are scraped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """The figures; that the database is away, and no others, while it is."""
        try:
            seen = self._database.transaction(overview.read)
        except DatabaseAway:
            yield _answers(0)
            return
        yield _answers(1)
        yield from _queue(seen.queue)
        yield from (_processes(seen), _deaf_listeners(seen), _failures(seen), _node_files(seen))
        yield from _findings(seen)
        yield from read_duties(seen)


def _answers(value: float) -> Metric:
    return GaugeMetricFamily("manifest_service_database_answers", "1 where the database answers, else 0.", value)


def _queue(queue: Queue) -> Iterator[Metric]:
    yield GaugeMetricFamily("manifest_service_queue_length", "Manifests that are pending or computing.", queue.length)
    entries = GaugeMetricFamily("manifest_service_queue_entries", "Entries of the queue by state.", labels=["state"])
    for state in ("due", "delayed", "computing"):
        entries.add_metric([state], getattr(queue, state))
    yield entries
    yield GaugeMetricFamily(
        "manifest_service_queue_oldest_age_seconds", "Time since the oldest entry came in.", queue.oldest_age or 0.0
    )
    oldest = queue.oldest_waiting
    yield GaugeMetricFamily(
        "manifest_service_queue_oldest_waiting_seconds",
        "Time since the oldest entry came in that nobody holds; 0 where none waits.",
        0.0 if oldest is None else oldest.age,
    )


def _processes(seen: Overview) -> Metric:
    running = GaugeMetricFamily(
        "manifest_service_processes",
        "Processes that have given a sign of life lately, by what runs in them.",
        labels=["part"],
    )
    for part in PARTS:
        running.add_metric([part], len(seen.parts(part)))
    return running


def _deaf_listeners(seen: Overview) -> Metric:
    return GaugeMetricFamily(
        "manifest_service_listeners_without_broker", "Listeners that reach no broker.", len(seen.deaf_listeners)
    )


def _failures(seen: Overview) -> Metric:
    images = GaugeMetricFamily(
        "manifest_service_failed_images",
        "Images whose manifest is refused or failed now, by code.",
        labels=["status", "code"],
    )
    found = {(str(Status.FAILED), str(code)): 0 for code in FailureCode}
    found |= {(each.status, each.code): each.images for each in seen.failures}
    for labels, count in sorted(found.items()):
        images.add_metric(labels, count)
    return images


def _node_files(seen: Overview) -> Metric:
    files = GaugeMetricFamily(
        "manifest_service_node_files", "Files on compute nodes that are not known to be well.", labels=["verdict"]
    )
    for verdict, count in seen.node_files.items():
        files.add_metric([verdict], count)
    return files


def _findings(seen: Overview) -> Iterator[Metric]:
    totals = {finding.kind: finding.total for finding in seen.findings}
    yield CounterMetricFamily(
        "manifest_service_immutability_violations",
        "Images whose bytes, size or checksum were found to have changed under the same id, each time it was.",
        totals[EventKind.IMMUTABILITY_VIOLATION],
    )
    yield CounterMetricFamily(
        "manifest_service_source_changes",
        "Changes behind Glance's back that scrubbing has found.",
        totals[EventKind.SOURCE_CHANGED],
    )
