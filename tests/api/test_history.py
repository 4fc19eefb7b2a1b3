"""The history of one image and of all: ordered, paged, and loud where bytes change under an id."""

from datetime import timedelta
from uuid import uuid4

import pytest

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.manifests import intake
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Event
from manifest_service.processing import queue
from tests.api.client import Client
from tests.builders import IMAGE_ID, MD5, NOON, claimed, computed, finish, observation, observe

HISTORY = f"/v1/manifests/{IMAGE_ID}/history"
VIOLATIONS = "/v1/events?kind=immutability-violation"
OTHER_MD5 = "0" * 32
LATER = NOON + timedelta(hours=1)


def kinds(api: Client, path: str = HISTORY) -> list[str]:
    return [event["kind"] for event in api.get(path).json()["events"]]


def violations_metric(api: Client) -> float:
    lines = api.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("manifest_service_immutability_violations_total ")]
    return float(line.split()[1])


def compute_again(database: Database) -> None:
    database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))


def test_the_life_of_an_image_is_told_in_order(api: Client, database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    away = ComputationFailed(FailureCode.SOURCE_UNREADABLE, "the store is away", retriable=True)
    database.transaction(lambda session: queue.retry_later(session, task, away, timedelta(0)))
    finish(database, claimed(database))
    observe(database, observation(status="deleted", deleted=True, observed_at=LATER))

    events = api.get(HISTORY).json()["events"]

    assert [event["kind"] for event in events] == [
        "uploaded",
        "computation-started",
        "computation-retried",
        "computation-started",
        "ready",
        "deleted",
    ]
    numbers = [event["number"] for event in events]
    assert numbers == sorted(set(numbers))
    assert {event["image_id"] for event in events} == {IMAGE_ID}
    assert events[2]["detail"]["code"] == "source-unreadable"


def test_a_kind_that_a_newer_version_has_written_is_passed_on(api: Client, database: Database) -> None:
    observe(database, observation())
    newer = {"image_id": IMAGE_ID, "kind": "sealed", "at": NOON, "detail": {"by": "a newer version"}}
    database.transaction(lambda session: session.add(Event(**newer)))

    for path in (HISTORY, "/v1/events"):
        events = {event["kind"]: event["detail"] for event in api.get(path).json()["events"]}
        assert set(events) == {"uploaded", "sealed"}
        assert events["sealed"] == newer["detail"]
    assert api.get(f"/images/{IMAGE_ID}").status_code == 200


def test_a_long_history_is_read_page_by_page_from_its_end(api: Client, database: Database) -> None:
    observe(database, observation())
    for _ in range(4):
        finish(database, claimed(database))
        compute_again(database)
    everything = api.get(f"{HISTORY}?limit=1000").json()["events"]

    path: str | None = f"{HISTORY}?limit=5"
    pages: list[list[object]] = []
    while path is not None:
        document = api.get(path).json()
        pages.insert(0, document["events"])
        path = document["links"].get("next")

    assert [event for page in pages for event in page] == everything
    assert [len(page) for page in pages[1:]] == [5] * (len(pages) - 1)


def test_events_of_all_images_are_listed_and_filtered(api: Client, database: Database) -> None:
    other = str(uuid4())
    observe(database, observation(), observation(image_id=other))
    database.transaction(lambda session: intake.record_rejected_upload(session, "disk full", "message-1"))

    def found(query: str) -> list[tuple[str, str | None]]:
        return [(event["kind"], event["image_id"]) for event in api.get(f"/v1/events?{query}").json()["events"]]

    assert found("") == [("upload-rejected", None), ("uploaded", other), ("uploaded", IMAGE_ID)]
    assert found("kind=upload-rejected") == [("upload-rejected", None)]
    assert found(f"image_id={IMAGE_ID.upper()}") == [("uploaded", IMAGE_ID)]
    assert found("since=2000-01-01T00:00:00Z&limit=1") == [("upload-rejected", None)]
    assert found("since=2999-01-01T00:00:00Z") == []
    first = api.get("/v1/events?limit=2&kind=uploaded").json()
    assert [event["image_id"] for event in api.get(first["links"]["next"]).json()["events"]] == []


@pytest.mark.parametrize(
    "query", ["kind=gossip", "marker=0", "marker=x", "marker=99999999999999999999", "since=noon", "q=1"]
)
def test_an_event_filter_that_cannot_be_says_which(local_api: Client, query: str) -> None:
    response = local_api.get(f"/v1/events?{query}")

    assert (response.status_code, response.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"checksums": {"md5": OTHER_MD5}}, {"md5": {"before": MD5, "now": OTHER_MD5}}),
        ({"size": 1}, {"size": {"before": 2949120, "now": 1}}),
    ],
)
@pytest.mark.parametrize("is_ready", [True, False])
def test_other_data_in_glance_under_the_same_id_is_a_violation(
    api: Client, database: Database, changes: dict[str, object], differs: dict[str, object], is_ready: bool
) -> None:
    observe(database, observation())
    if is_ready:
        finish(database, claimed(database))

    for _ in range(2):  # the second time it is no news
        observe(database, observation(**changes, updated_at=LATER, observed_at=LATER))

    (event,) = api.get(VIOLATIONS).json()["events"]
    assert event["image_id"] == IMAGE_ID
    assert event["detail"] == {"place": "glance", "revision": 2 if is_ready else 1, "differs": differs}
    assert kinds(api)[-2:] == ["re-uploaded", "immutability-violation"]
    assert violations_metric(api) == 1


def test_the_computation_of_what_was_reported_as_changed_is_no_second_violation(
    api: Client, database: Database
) -> None:
    observe(database, observation())
    finish(database, claimed(database))
    observe(database, observation(checksums={"md5": OTHER_MD5}, updated_at=LATER))

    finish(database, claimed(database), computed(source_checksums={"md5": OTHER_MD5}))

    assert violations_metric(api) == 1


def test_bytes_that_change_in_the_store_are_a_violation(api: Client, database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database))
    compute_again(database)
    task = claimed(database)
    mismatch = ComputationFailed(FailureCode.SOURCE_MISMATCH, "the md5 is other", retriable=False)

    database.transaction(lambda session: queue.finish_without(session, task, mismatch))

    assert kinds(api)[-2:] == ["immutability-violation", "failed"]
    (event,) = api.get(VIOLATIONS).json()["events"]
    assert event["detail"] == {"place": "store", "revision": 2, "reason": "the md5 is other"}


def test_bytes_that_change_where_glance_recorded_no_checksum_are_a_violation(api: Client, database: Database) -> None:
    observe(database, observation(checksums={}))
    finish(database, claimed(database), computed(source_checksums={"sha256": "1" * 64}))
    compute_again(database)

    finish(database, claimed(database), computed(source_checksums={"sha256": "2" * 64}))

    (event,) = api.get(VIOLATIONS).json()["events"]
    assert event["detail"]["differs"] == {"sha256": {"before": "1" * 64, "now": "2" * 64}}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "renamed"},
        {"status": "deactivated"},
        {"checksums": {}},
        {"checksums": {"sha512": "3" * 128}},
        {"size": None},
    ],
)
def test_what_says_nothing_against_the_bytes_is_no_violation(
    local_api: Client, local: Database, changes: dict[str, object]
) -> None:
    observe(local, observation())
    finish(local, claimed(local))

    observe(local, observation(**changes, updated_at=LATER))
    compute_again(local)
    finish(local, claimed(local))

    assert violations_metric(local_api) == 0


def test_a_first_computation_that_finds_other_bytes_is_a_failure_and_no_violation(
    local_api: Client, local: Database
) -> None:
    observe(local, observation())
    task = claimed(local)
    mismatch = ComputationFailed(FailureCode.SOURCE_MISMATCH, "the md5 is other", retriable=False)

    local.transaction(lambda session: queue.finish_without(session, task, mismatch))

    assert kinds(local_api) == ["uploaded", "computation-started", "failed"]
