"""Lookups and computations: what nodes and operators send."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import IMAGE_ID, MD5, SHA256, claimed, finish, history, observation, observe, queued
from tests.servers.postgresql import PostgreSQL

COMPUTATIONS = f"/v1/manifests/{IMAGE_ID}/computations"


def make_ready(database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database))


def test_a_lookup_answers_for_each_key(api: Client, database: Database) -> None:
    make_ready(database)
    gone, missing = str(uuid4()), str(uuid4())
    observe(database, observation(image_id=gone))
    observe(database, observation(image_id=gone, status="deleted", deleted=True))
    name = api.get(f"/v1/manifests/{IMAGE_ID}").json()["cache_name"]

    found = api.post(
        "/v1/lookups",
        json={
            "image_ids": [IMAGE_ID, gone, missing],
            "cache_names": [name, "0" * 40],
            "digests": [f"sha256:{SHA256}", f"md5:{'0' * 32}"],
        },
    ).json()

    assert {manifest["image_id"]: manifest["status"] for manifest in found["manifests"]} == {
        IMAGE_ID: "ready",
        gone: "deleted",
    }
    assert found["unknown"] == {
        "image_ids": [missing],
        "cache_names": ["0" * 40],
        "digests": [f"md5:{'0' * 32}"],
    }


def test_a_thousand_digests_are_one_lookup(api: Client, database: Database) -> None:
    make_ready(database)
    digests = [f"sha512:{number:0128x}" for number in range(999)]

    found = api.post("/v1/lookups", json={"digests": [*digests, f"sha256:{SHA256}"]})

    assert [manifest["image_id"] for manifest in found.json()["manifests"]] == [IMAGE_ID]
    assert found.json()["unknown"]["digests"] == digests


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "no-keys"),
        ({"image_ids": [str(uuid4())] * 11}, "too-many-keys"),
        ({"image_ids": ["x"]}, "invalid-request"),
        ({"image_ids": "x"}, "invalid-request"),
        ({"digests": ["sha256:\x00"]}, "invalid-request"),
        ({"names": []}, "invalid-request"),
        ([], "invalid-request"),
        ("text", "invalid-request"),
        (7, "invalid-request"),
        (None, "invalid-request"),
    ],
)
def test_a_lookup_that_cannot_be_says_why(
    local: Database, serve_api: Callable[..., Client], body: Any, code: str
) -> None:
    response = serve_api(local, page_limit=10).post("/v1/lookups", data=json.dumps(body), headers=_JSON)

    assert (response.status_code, response.json()["code"]) == (400, code)


_JSON = {"Content-Type": "application/json"}


def test_an_image_that_no_notification_announced_can_be_announced(api: Client, database: Database) -> None:
    image = {
        "name": "\U0001f600",
        "disk_format": "qcow2",
        "size": 5,
        "checksum": MD5,
        "os_hash_algo": "sha512",
        "os_hash_value": "ab" * 64,
    }

    response = api.post(COMPUTATIONS, json={"image": image})

    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/manifests/{IMAGE_ID}/revisions/1"
    assert response.json()["name"] == "\U0001f600"
    task = claimed(database)
    assert task.expected_size == 5
    assert task.expected_checksums == {"md5": MD5, "sha512": "ab" * 64}
    assert (task.disk_format, task.container_format) == ("qcow2", "bare")
    again = api.post(COMPUTATIONS, json={"image": image})
    assert (again.status_code, again.json()["code"]) == (409, "image-known")
    assert "Leave out `image`" in again.json()["next_step"]


def test_a_computation_makes_a_revision_once(api: Client, database: Database) -> None:
    make_ready(database)

    answers = [api.post(COMPUTATIONS), api.post(COMPUTATIONS, json={}), api.post(COMPUTATIONS, json={"image": None})]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert {answer.json()["revision"] for answer in answers} == {2}
    assert queued(database) == 1
    assert history(database).count("computation-requested") == 1
    assert api.get(f"/v1/manifests/{IMAGE_ID}").json()["revision"] == 1


def test_a_computation_needs_an_image_that_is_there(api: Client, database: Database) -> None:
    assert api.post(COMPUTATIONS).status_code == 404
    observe(database, observation(status="queued"))
    # An operator may know better than the notifications that have come so far.
    assert api.post(COMPUTATIONS).status_code == 202
    observe(database, observation(status="deleted", deleted=True))
    assert api.post(COMPUTATIONS).status_code == 410


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", _JSON, 400, "malformed-json"),
        (b"\xff\xfe", _JSON, 400, "malformed-json"),
        (b"[" * 100_000, _JSON, 400, "malformed-json"),
        (b'{"image": null}', {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b" " * 300_000, _JSON, 413, "body-too-large"),
        (b'{"image": {}}', _JSON, 400, "invalid-request"),
        (b'{"image": {"disk_format": "qcow2", "size": 9223372036854775808}}', _JSON, 400, "invalid-request"),
        (b'{"image": {"disk_format": "qcow2", "name": "a\\u0000b"}}', _JSON, 400, "invalid-request"),
        (b'{"image": {"disk_format": "qcow2", "name": "\\ud800"}}', _JSON, 400, "invalid-request"),
        (b'{"image": {"disk_format": "qcow2", "os_hash_algo": "sha512"}}', _JSON, 400, "invalid-request"),
        (b'{"image": {"disk_format": "qcow2"}, "force": true}', _JSON, 400, "invalid-request"),
    ],
)
def test_a_body_that_cannot_be_says_why(
    local_api: Client, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = local_api.post(COMPUTATIONS, data=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.servers
def test_while_the_database_is_away_callers_are_asked_to_come_back(
    postgresql: PostgreSQL, serve_api: Callable[..., Client]
) -> None:
    url = postgresql.create_database()
    database = Database(url)
    api = serve_api(database)
    assert api.get("/healthcheck").json()["database"] == "schema-not-current"
    postgresql.kill()

    response = api.get(f"/v1/manifests/{IMAGE_ID}")
    health = api.get("/healthcheck")

    postgresql.start()
    assert (response.status_code, response.json()["code"]) == (503, "database-away")
    assert int(response.headers["Retry-After"]) > 0
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    database.close()
    postgresql.drop(url)
