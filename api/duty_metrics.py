"""Figures of what one process does for all: reconciling and scrubbing, wherever that process is."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from manifest_service.processing import reconcile, scrub
from manifest_service.processing.overview import Overview


def read_duties(seen: Overview) -> Iterator[Metric]:
    """The figures, as an overview has them."""
    held = GaugeMetricFamily("manifest_service_duty_held", "1 while a process is at it.", labels=["duty"])
    ended = GaugeMetricFamily("manifest_service_duty_end_time_seconds", "When its last run ended.", labels=["duty"])
    failed = GaugeMetricFamily("manifest_service_duty_failed_runs", "Runs in a row that failed.", labels=["duty"])
    for duty in seen.duties:
        held.add_metric([duty.name], float(duty.is_held))
        if duty.ended_at is not None:
            ended.add_metric([duty.name], duty.ended_at.timestamp())
        failed.add_metric([duty.name], duty.failed_runs)
    yield from (held, ended, failed)
    states = {duty.name: duty.state for duty in seen.duties}
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
