"""Figures of what one process does for all: reconciling and scrubbing, wherever that process is."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from manifest_service.manifests import history
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.states import EventKind
from manifest_service.processing import duties, reconcile, scrub
from manifest_service.processing.duties import DutyRecord


class DutyCollector(Collector):
    """Reads them from the database when they are scraped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """The figures; nothing while the database is away."""
        try:
            records, changes = self._database.transaction(_read)
        except DatabaseAway:
            return
        yield CounterMetricFamily(
            "manifest_service_source_changes", "Changes behind Glance's back that scrubbing has found.", changes
        )
        ended = GaugeMetricFamily("manifest_service_duty_end_time_seconds", "When its last run ended.", labels=["duty"])
        failed = GaugeMetricFamily("manifest_service_duty_failed_runs", "Runs in a row that failed.", labels=["duty"])
        for record in records:
            if record.ended_at is not None:
                ended.add_metric([record.name], record.ended_at.timestamp())
            failed.add_metric([record.name], record.failed_runs)
        yield from (ended, failed)
        states = {record.name: record.state for record in records}
        scrubbed = states.get(scrub.NAME, {})
        yield CounterMetricFamily(
            "manifest_service_scrubbed_bytes", "Bytes of sources that were read again.", scrubbed.get("bytes", 0)
        )
        yield CounterMetricFamily(
            "manifest_service_scrubbed_images", "Sources that were read again.", scrubbed.get("images", 0)
        )
        yield GaugeMetricFamily(
            "manifest_service_deletions_held_back",
            "1 while reconciling finds images gone and does not dare to mark them as deleted.",
            float(states.get(reconcile.NAME, {}).get("held_back") is not None),
        )


def _read(session: Session) -> tuple[list[DutyRecord], int]:
    return duties.list_duties(session), history.count(session, EventKind.SOURCE_CHANGED)
