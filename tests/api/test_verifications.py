"""`/v1/verifications`: nodes report, auditors see the fleet."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from sqlalchemy import update

from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Verification
from tests.api.client import Client
from tests.builders import IMAGE_ID, NOON, history, observation, observe

HERE = "/v1/verifications"
NODE = "compute-1.example.org"
FILE = "/var/lib/nova/instances/_base/4a1f8b5b3c7b2ef0ef4ee44bd0a9ff5ec5e30c0b"
DAY = timedelta(days=1)


def verification(**changes: Any) -> dict[str, Any]:
    """A match, found at noon."""
    found = {
        "id": str(uuid4()),
        "file": FILE,
        "image_id": IMAGE_ID,
        "cache_name": "4a1f8b5b3c7b2ef0ef4ee44bd0a9ff5ec5e30c0b",
        "verdict": "match",
        "evidence": "sparse-digest",
        "algorithm": "fsverity-sha256",
        "differs": [],
        "size": 25165824,
        "reason": "its fsverity-sha256 is that of the image's disk",
        "checked_at": NOON.isoformat(),
    }
    return found | changes


def report(api: Client, *verifications: dict[str, Any], node: str = NODE) -> dict[str, int]:
    """Report what must be taken in."""
    response = api.post(HERE, json={"node": node, "verifications": list(verifications)})
    assert response.status_code == 201, response.text
    answer: dict[str, int] = response.json()
    return answer


def listed(api: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{HERE}?{query}").json()["verifications"]
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in found]


def test_words_that_a_newer_version_has_recorded_are_passed_on(local_api: Client, local: Database) -> None:
    observe(local, observation())
    report(local_api, verification(), verification(file="/newer"))
    newer = {"verdict": "match-sealed", "evidence": "oracle"}
    local.transaction(
        lambda session: session.execute(update(Verification).where(Verification.file == "/newer").values(**newer))
    )

    assert {(each["verdict"], each["evidence"]) for each in listed(local_api)} == {
        ("match", "sparse-digest"),
        ("match-sealed", "oracle"),
    }
    for page in ("/fleet", f"/fleet/files?node={NODE}", f"/images/{IMAGE_ID}"):
        assert local_api.get(page).status_code == 200


def image_history(api: Client) -> list[dict[str, Any]]:
    events = api.get(f"/v1/manifests/{IMAGE_ID}/history").json()["events"]
    return [event["detail"] for event in events if event["kind"] == "verified"]


def test_what_is_reported_is_listed(api: Client) -> None:
    most = 2**63 - 1
    sent = verification(verdict="corrupt", evidence="block-map", differs=[[0, 4096], [most, most]], size=most)
    least = {key: verification()[key] for key in ("id", "verdict", "reason", "checked_at")} | {"file": "\U0001f600"}

    assert report(api, sent, least) == {"recorded": 2, "known": 0}

    second, first = listed(api)
    received = datetime.fromisoformat(first.pop("received_at"))
    assert abs(received - datetime.now(UTC)) < timedelta(minutes=5)
    told = {"node": NODE, "checked_at": "2026-11-23T12:00:00Z", "latest": True, "reported_by": None}
    assert first == sent | told
    assert second["file"] == "\U0001f600"
    assert second["differs"] == []
    absent = ("image_id", "cache_name", "evidence", "algorithm", "size")
    assert [second[name] for name in absent] == [None] * 5


def test_a_report_that_is_sent_twice_is_recorded_once(api: Client) -> None:
    sent = [verification(file=f"/base/{number}") for number in range(3)]

    assert report(api, *sent[:2], sent[0]) == {"recorded": 2, "known": 1}
    assert report(api, *sent) == {"recorded": 1, "known": 2}
    assert report(api, *sent, node="another") == {"recorded": 0, "known": 3}

    assert len(listed(api)) == 3


def test_a_thousand_files_are_one_report(api: Client) -> None:
    sent = [{"id": str(uuid4()), "file": f"/{number}", "verdict": "match", "reason": ""} for number in range(1000)]
    sent = [each | {"checked_at": "2026-11-23T12:00:00Z"} for each in sent]

    assert report(api, *sent) == {"recorded": 1000, "known": 0}

    assert ids(listed(api, "limit=1000")) == ids(sent)[::-1]


def test_the_latest_of_each_node_and_file_goes_by_when_it_was_checked(api: Client) -> None:
    first, second, late, elsewhere, other = (verification() for _ in range(5))
    other["file"] = FILE.upper()
    second["checked_at"] = (NOON + DAY).isoformat()
    late["checked_at"] = (NOON + DAY / 2).isoformat()

    report(api, first)
    assert ids(listed(api, "latest=true")) == [first["id"]]
    report(api, second)
    report(api, late, other)
    report(api, elsewhere, node=NODE.upper())

    assert {each["id"]: each["latest"] for each in listed(api)} == {
        first["id"]: False,
        second["id"]: True,
        late["id"]: False,
        other["id"]: True,
        elsewhere["id"]: True,
    }
    assert ids(listed(api, "latest=true")) == [elsewhere["id"], other["id"], second["id"]]
    assert len(listed(api, "latest=false")) == 5


def test_of_two_that_were_checked_at_once_the_one_that_came_last_is_the_latest(api: Client) -> None:
    sent = [verification() for _ in range(3)]
    report(api, sent[0])

    report(api, *sent[1:])

    assert ids(listed(api, "latest=true")) == [sent[2]["id"]]


def test_in_one_report_too_the_latest_goes_by_when_it_was_checked(api: Client) -> None:
    late, early = verification(checked_at=(NOON + DAY).isoformat()), verification()

    report(api, late, early)

    assert ids(listed(api, "latest=true")) == [late["id"]]


def test_a_clock_that_is_far_behind_is_taken_as_it_is(api: Client) -> None:
    report(api, verification(checked_at="0001-01-01T00:00:00Z"))

    assert listed(api, "latest=true")[0]["checked_at"] == "0001-01-01T00:00:00Z"


def test_nothing_was_checked_after_it_was_reported(api: Client) -> None:
    report(api, verification(checked_at="9999-12-31T23:59:59.999999Z"))

    (found,) = listed(api, "latest=true")
    assert found["checked_at"] == found["received_at"]


def test_every_filter_finds_what_it_should(api: Client) -> None:
    image = str(uuid4())
    one, two = verification(), verification(file="/b", image_id=image, verdict="match-extended")
    three = verification(verdict="corrupt", checked_at=(NOON + DAY).isoformat())
    report(api, one)
    report(api, two, node="n2")
    report(api, three)

    def found(query: str) -> list[str]:
        return ids(listed(api, query))

    assert found("") == [three["id"], two["id"], one["id"]]
    assert found(f"node={NODE}") == [three["id"], one["id"]]
    assert found("node=N2") == []
    assert found(f"image_id={image.upper()}") == [two["id"]]
    assert found("verdict=match-extended") == [two["id"]]
    assert found("verdict=resized") == []
    assert found(f"file={FILE}") == [three["id"], one["id"]]
    assert found(f"file={FILE}%20") == []
    assert found("since=2026-11-23T13:00:00%2B01:00") == [three["id"], two["id"], one["id"]]
    assert found("since=2026-11-23T12:00:01Z") == [three["id"]]
    assert found("until=2026-11-24T12:00:00Z") == [two["id"], one["id"]]
    assert found("since=2026-11-23T12:00:00Z&until=2026-11-23T12:00:00Z") == []
    assert found(f"latest=true&node={NODE}") == [three["id"]]
    assert found("latest=true&verdict=match") == []


def test_the_list_is_cut_into_pages_that_miss_nothing(api: Client) -> None:
    sent = [verification(file=f"/{number}") for number in range(25)]
    report(api, *sent)
    report(api, verification(), node="another")
    seen: list[str] = []
    following: str | None = f"{HERE}?limit=10&node={NODE}&since=2026-11-23T13:00:00%2B01:00"
    pages = 0
    while following:
        page = api.get(following).json()
        report(api, verification(), node="another")  # what comes in meanwhile shifts nothing
        seen += ids(page["verifications"])
        following = page["links"].get("next")
        pages += 1

    assert seen == ids(sent)[::-1]
    assert pages == 3


def test_a_history_tells_the_first_verdict_on_a_file_and_every_other_after_it(api: Client, database: Database) -> None:
    observe(database, observation())
    nights = ["match", "corrupt", "corrupt", "match", "match", "corrupt", "match-extended", "unknown", "failed"]

    for number, verdict in enumerate(nights):
        report(api, verification(verdict=verdict, checked_at=(NOON + number * DAY).isoformat()))

    turns = ["match", "corrupt", "match", "corrupt", "match-extended", "unknown", "failed"]
    assert image_history(api) == [{"node": NODE, "file": FILE, "verdict": verdict} for verdict in turns]


def test_a_history_tells_the_turns_within_one_report(local_api: Client, local: Database) -> None:
    observe(local, observation())
    unseen = str(uuid4())

    report(
        local_api,
        verification(checked_at=(NOON + DAY).isoformat()),
        verification(verdict="corrupt"),
        verification(verdict="corrupt", file="/other"),
        verification(verdict="corrupt", file="/unseen", image_id=unseen),
        verification(verdict="corrupt", file="/nameless", image_id=None),
    )

    assert [(each["file"], each["verdict"]) for each in image_history(local_api)] == [
        (FILE, "corrupt"),
        ("/other", "corrupt"),
        (FILE, "match"),
    ]
    assert history(local, unseen) == []


def test_late_and_repeated_reports_leave_the_history_alone(local_api: Client, local: Database) -> None:
    observe(local, observation())
    corrupt = verification(verdict="corrupt")
    report(local_api, verification(checked_at=(NOON + DAY).isoformat()))

    report(local_api, corrupt)
    report(local_api, corrupt, node="another")

    assert [each["verdict"] for each in image_history(local_api)] == ["match"]
    assert ids(listed(local_api, "verdict=corrupt")) == [corrupt["id"]]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"id": "1"}, "id"),
        ({"id": None}, "id"),
        ({"file": ""}, "file"),
        ({"file": "/" * 4097}, "file"),
        ({"file": "/a\x00b"}, "file"),
        ({"file": "/\ud800"}, "file"),
        ({"image_id": "q1"}, "image_id"),
        ({"cache_name": "A" * 40}, "cache_name"),
        ({"cache_name": "a" * 39}, "cache_name"),
        ({"verdict": "fine"}, "verdict"),
        ({"verdict": None}, "verdict"),
        ({"evidence": "hearsay"}, "evidence"),
        ({"algorithm": "sha 256"}, "algorithm"),
        ({"algorithm": "a" * 33}, "algorithm"),
        ({"differs": None}, "differs"),
        ({"differs": [[1]]}, "differs.0"),
        ({"differs": [[1, 2, 3]]}, "differs.0"),
        ({"differs": [[0, -1]]}, "differs.0.1"),
        ({"differs": [[2**63, 1]]}, "differs.0.0"),
        ({"differs": [[0, 1]] * 1001}, "differs"),
        ({"size": -1}, "size"),
        ({"size": 2**63}, "size"),
        ({"reason": "x" * 1001}, "reason"),
        ({"reason": "\x00"}, "reason"),
        ({"reason": None}, "reason"),
        ({"checked_at": "2026-11-23T12:00:00"}, "checked_at"),
        ({"checked_at": "noon"}, "checked_at"),
        ({"checked_at": "0001-01-01T00:00:00+10:00"}, "checked_at"),
        ({"checked_at": None}, "checked_at"),
        ({"name": "q1"}, "name"),
    ],
)
@pytest.mark.slow
def test_a_verification_that_cannot_be_says_where(local_api: Client, changes: dict[str, Any], where: str) -> None:
    body = {"node": NODE, "verifications": [verification(), verification() | changes]}

    response = local_api.post(HERE, json=body)

    assert (response.status_code, response.json()["code"]) == (400, "invalid-request")
    assert f"verifications.1.{where}" in response.json()["errors"][0]["where"]
    assert listed(local_api) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"node": NODE, "verifications": []}, "invalid-request"),
        ({"node": NODE, "verifications": [{}] * 1001}, "invalid-request"),
        ({"node": NODE}, "invalid-request"),
        ({"verifications": [verification()]}, "invalid-request"),
        ({"node": "", "verifications": [verification()]}, "invalid-request"),
        ({"node": "a b", "verifications": [verification()]}, "invalid-request"),
        ({"node": "a\n", "verifications": [verification()]}, "invalid-request"),
        ({"node": "n" * 256, "verifications": [verification()]}, "invalid-request"),
        ({"node": NODE, "verifications": [verification()], "time": 1}, "invalid-request"),
        ({"node": NODE, "verifications": ["match"]}, "invalid-request"),
        ([verification()], "invalid-request"),
        (None, "invalid-request"),
    ],
)
def test_a_report_that_cannot_be_says_why(local_api: Client, body: Any, code: str) -> None:
    response = local_api.post(HERE, data=json.dumps(body), headers={"Content-Type": "application/json"})

    assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_report_that_is_too_long_says_so(local_api: Client) -> None:
    sent = [verification(reason="x" * 1000) for _ in range(300)]

    response = local_api.post(HERE, json={"node": NODE, "verifications": sent})

    assert (response.status_code, response.json()["code"]) == (413, "body-too-large")


@pytest.mark.parametrize(
    "query",
    [
        "verdict=fine",
        "node=a%20b",
        "node=",
        "image_id=q1",
        "file=",
        "file=%00",
        "since=yesterday",
        "until=2026-11-23T12:00:00",
        "latest=perhaps",
        "limit=0",
        "marker=x",
        "status=ready",
    ],
)
def test_a_filter_that_cannot_be_says_which(local_api: Client, query: str) -> None:
    response = local_api.get(f"{HERE}?{query}")

    assert (response.status_code, response.json()["code"]) == (400, "invalid-request")
    assert query.split("=", maxsplit=1)[0] in response.json()["detail"]


def test_an_unknown_marker_says_so(local_api: Client) -> None:
    response = local_api.get(f"{HERE}?marker={uuid4()}")

    assert (response.status_code, response.json()["code"]) == (400, "unknown-marker")


def test_the_resource_is_described(local_api: Client) -> None:
    document = local_api.get("/v1/openapi.json").json()

    validate(document)
    described = document["paths"][HERE]
    assert set(described) == {"get", "post"}
    assert "max_body" in described["post"]["description"]
    assert "201" in described["post"]["responses"]
    assert "application/problem+json" in described["post"]["responses"]["4XX"]["content"]


_ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.sampled_from(sorted(verification())), _ANYTHING, max_size=3),
    query=st.dictionaries(
        st.sampled_from(["node", "image_id", "verdict", "file", "since", "until", "latest", "limit", "marker"]),
        st.text(st.characters(codec="utf-8"), max_size=40),
        max_size=3,
    ),
)
@pytest.mark.slow
def test_garbage_never_breaks_the_resource(local_api: Client, changes: dict[str, Any], query: dict[str, str]) -> None:
    body = json.dumps({"node": NODE, "verifications": [verification() | changes]})
    headers = {"Content-Type": "application/json"}

    posted = requests.post(local_api.url + HERE, data=body, headers=headers, timeout=30)
    got = requests.get(local_api.url + HERE, params=query, timeout=30)

    assert posted.status_code in (201, 400, 415), posted.text
    assert got.status_code in (200, 400), got.text
