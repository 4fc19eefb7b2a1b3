"""What holds for the whole API: versions, health, OpenAPI, request ids, the page, and garbage."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from api import app
from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import IMAGE_ID, observation, observe


def test_the_version_document_and_the_way_to_the_page(local_api: Client) -> None:
    document = local_api.get("/").json()
    browser = local_api.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert [version["id"] for version in document["versions"]] == ["v1"]
    for link in document["versions"][0]["links"]:
        assert local_api.get(link["href"]).status_code == 200
    assert (browser.status_code, browser.headers["Location"]) == (303, "/images")


def test_health_and_metrics_tell_the_queue(local_api: Client, local: Database) -> None:
    observe(local, observation())

    health = local_api.get("/healthcheck").json()
    families = {family.name: family for family in text_string_to_metric_families(local_api.get("/metrics").text)}

    assert (health["status"], health["queue_length"]) == ("ok", 1)
    assert health["oldest_entry_age"] >= 0
    assert families["manifest_service_queue_length"].samples[0].value == 1


def test_the_openapi_document_is_valid_and_covers_every_resource(local_api: Client) -> None:
    document = local_api.get("/v1/openapi.json").json()

    validate(document)
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/",
        "/healthcheck",
        "/v1/manifests",
        "/v1/manifests/{image_id}",
        "/v1/manifests/{image_id}/bmap",
        "/v1/manifests/{image_id}/history",
        "/v1/manifests/{image_id}/revisions/{revision}",
        "/v1/manifests/{image_id}/revisions/{revision}/statement",
        "/v1/manifests/{image_id}/statement",
        "/v1/keys",
        "/v1/keys/{key_id}",
        "/v1/manifests/{image_id}/computations",
        "/v1/lookups",
        "/v1/events",
        "/v1/export",
        "/v1/verifications",
    }
    answers = document["paths"]["/v1/manifests/{image_id}"]["get"]["responses"]
    assert "application/problem+json" in answers["4XX"]["content"]
    assert json.dumps(document) == json.dumps(local_api.get("/v1/openapi.json").json())


def test_the_openapi_document_is_made_by_one_request_at_a_time(
    serve_api: Callable[..., Client], local: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library shows it to a second request before it is whole."""
    as_described, second = app._as_described, Event()
    at_it: list[object] = []
    most = [0]

    def watched(document: dict[str, Any]) -> dict[str, Any]:
        at_it.append(document)
        most[0] = max(most[0], len(at_it))
        if len(at_it) > 1:
            second.set()
        second.wait(0.3)
        described = as_described(document)
        at_it.pop()
        return described

    monkeypatch.setattr(app, "_as_described", watched)
    api = serve_api(local)

    with ThreadPoolExecutor(3) as asking:
        answers = list(asking.map(lambda _: api.get("/v1/openapi.json"), range(3)))

    assert most == [1]
    assert len({answer.content for answer in answers}) == 1


def test_a_request_id_is_kept_where_it_is_one(local_api: Client) -> None:
    given_id = f"req-{uuid4()}"

    kept = local_api.get("/nowhere", headers={"X-Openstack-Request-Id": given_id})
    made = local_api.get("/nowhere", headers={"X-Openstack-Request-Id": "req-1; rm -rf /"})

    assert kept.json()["request_id"] == given_id
    assert made.json()["request_id"].startswith("req-")
    assert len(made.json()["request_id"]) == len(given_id)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/manifests/not-a-uuid", 400, "invalid-request"),
        ("DELETE", "/v1/manifests", 405, "method-not-allowed"),
        ("GET", f"/v1/manifests/{IMAGE_ID}/revisions/99999999999", 400, "invalid-request"),
        ("GET", "/images/%00", 404, "not-found"),
    ],
)
def test_errors_are_problems(local_api: Client, method: str, path: str, status: int, code: str) -> None:
    response = local_api.ask(method, path)

    assert (response.status_code, response.json()["code"]) == (status, code)


_KEYS = st.sampled_from(["image", "image_ids", "cache_names", "digests", "disk_format", "size", "checksum", "name"])
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_PATHS = st.sampled_from(
    ["/v1/lookups", "/v1/manifests", f"/v1/manifests/{IMAGE_ID}", f"/v1/manifests/{IMAGE_ID}/computations", "/images"]
)
_FILTERS = ["status", "disk_format", "owner", "digest", "cache_name", "since", "limit", "marker", "algorithm", "q"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    path=_PATHS | st.text(max_size=30).map(lambda text: f"/v1/manifests/{quote(text, safe='')}"),
    query=st.dictionaries(st.sampled_from(_FILTERS), st.text(st.characters(codec="utf-8"), max_size=40), max_size=3),
    body=st.none() | st.binary(max_size=200) | _ANYTHING.map(json.dumps),
)
@pytest.mark.slow
def test_garbage_never_breaks_the_service(
    local_api: Client, method: str, path: str, query: dict[str, str], body: Any
) -> None:
    headers = {"Content-Type": "application/json"}

    response = requests.request(
        method, local_api.url + path, params=query, data=body, headers=headers, timeout=30, allow_redirects=False
    )

    assert response.status_code < 500, response.text
