"""What the API tells of reconciling and scrubbing, whichever process does it."""

import threading

from prometheus_client.parser import text_string_to_metric_families

from manifest_service.manifests import history
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.states import EventKind
from manifest_service.processing.duties import KeptDuty, run_once
from tests.api.client import Client
from tests.builders import IMAGE_ID
from tests.processing.running_duties import TERMS


class Chore:
    """A duty that leaves this state."""

    def __init__(self, name: str, **state: object) -> None:
        self.name = name
        self._state = state

    def run(self, kept: KeptDuty) -> dict[str, object]:
        kept.save(self._state)
        return {}


def figures(api: Client) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(api.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, sample.labels.get("duty", "")): sample.value for sample in samples}


def test_metrics_tell_of_duties(local_api: Client, local: Database) -> None:
    before = figures(local_api)
    assert before["manifest_service_deletions_held_back", ""] == 0
    assert before["manifest_service_scrubbed_bytes_total", ""] == 0

    for chore in (Chore("scrub", bytes=4096, images=2), Chore("reconcile", held_back="not-admin")):
        assert run_once(local, chore, TERMS, threading.Event()) is not None

    after = figures(local_api)
    assert after["manifest_service_scrubbed_bytes_total", ""] == 4096
    assert after["manifest_service_scrubbed_images_total", ""] == 2
    assert after["manifest_service_deletions_held_back", ""] == 1
    assert after["manifest_service_duty_failed_runs", "scrub"] == 0
    assert after["manifest_service_duty_end_time_seconds", "reconcile"] > 1_700_000_000


def test_changed_sources_are_listed_and_counted(local_api: Client, local: Database) -> None:
    local.transaction(
        lambda session: history.add_event(
            session, IMAGE_ID, EventKind.SOURCE_CHANGED, database_now(session), {"place": "store"}
        )
    )

    (event,) = local_api.get("/v1/events?kind=source-changed").json()["events"]

    assert (event["image_id"], event["detail"]) == (IMAGE_ID, {"place": "store"})
    assert figures(local_api)["manifest_service_source_changes_total", ""] == 1
