"""`/v1/manifests`: what nodes and auditors read."""

import hashlib
import subprocess
import urllib.request
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from manifest_service.errors import ImageRefused, RefusalCode
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import Progress
from manifest_service.processing import queue
from tests.api.client import Client
from tests.builders import IMAGE_ID, LEASE, MD5, NOON, SHA256, claimed, computed, finish, observation, observe

HERE = f"/v1/manifests/{IMAGE_ID}"
CACHE_NAME = hashlib.sha1(IMAGE_ID.encode()).hexdigest()


def make_ready(database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database))


def test_a_ready_manifest_says_all_that_is_known(api: Client, database: Database) -> None:
    make_ready(database)

    response = api.get(HERE)

    assert response.status_code == 200
    manifest = response.json()
    assert manifest.pop("computed_at").endswith("Z")
    assert manifest.pop("created_at").endswith("Z")
    assert manifest == {
        "image_id": IMAGE_ID,
        "revision": 1,
        "status": "ready",
        "code": None,
        "reason": None,
        "next_step": None,
        "name": "q1",
        "cache_name": CACHE_NAME,
        "disk_format": "qcow2",
        "virtual_size": 25165824,
        "digests": {"sha256": SHA256},
        "source": {"size": 2949120, "checksums": {"md5": MD5}},
        "warnings": [],
        "progress": None,
        "computed_by": "manifest-service 0.1.0",
        "deleted_at": None,
        "links": {
            "self": HERE,
            "history": f"{HERE}/history",
            "revision": f"{HERE}/revisions/1",
            "page": f"/images/{IMAGE_ID}",
        },
    }


def test_a_ready_manifest_can_be_kept_and_asked_for_again(local_api: Client, local: Database) -> None:
    make_ready(local)
    first = local_api.get(HERE)
    etag = first.headers["ETag"]

    assert not etag.startswith("W/")
    assert "max-age=86400" in first.headers["Cache-Control"]
    assert local_api.get(HERE, headers={"If-None-Match": etag}).status_code == 304
    assert local_api.get(HERE, headers={"If-None-Match": '"other"'}).status_code == 200
    head = local_api.ask("HEAD", HERE)
    assert (head.status_code, head.text, head.headers["ETag"]) == (200, "", etag)
    text = local_api.get(HERE, headers={"Accept": "text/plain"})
    assert text.headers["ETag"] != etag
    assert "Accept" in text.headers["Vary"]


def test_a_manifest_in_the_making_shows_how_far_it_is(api: Client, database: Database) -> None:
    observe(database, observation())
    pending = api.get(HERE)
    task = claimed(database)
    database.transaction(lambda session: queue.renew(session, task, LEASE, Progress(512, 1024)))

    computing = api.get(HERE)

    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert (computing.status_code, computing.json()["status"]) == (202, "computing")
    assert computing.json()["progress"] == {"done": 512, "total": 1024}
    assert int(computing.headers["Retry-After"]) > 0
    assert computing.headers["Cache-Control"] == "no-store"


def test_a_refusal_is_explained(api: Client, database: Database) -> None:
    observe(database, observation())
    task = claimed(database)
    refusal = ImageRefused(RefusalCode.BACKING_FILE, "the disk builds on another file")
    database.transaction(lambda session: queue.finish_without(session, task, refusal))

    response = api.get(HERE)

    assert response.status_code == 200
    assert response.json()["status"] == "refused"
    assert response.json()["code"] == "backing-file"
    assert "Flatten it" in response.json()["next_step"]
    assert response.headers["Cache-Control"] == "no-cache"


def test_what_is_not_there_says_why(api: Client, database: Database) -> None:
    assert "has been seen" in api.get(HERE).json()["detail"]
    observe(database, observation(status="saving"))
    response = api.get(HERE)
    assert response.status_code == 404
    assert "no data for it yet" in response.json()["detail"]
    assert api.get(f"{HERE}/revisions/1").status_code == 404
    assert api.get(f"/v1/manifests/{uuid4()}/history").status_code == 404


def test_a_deleted_image_is_gone_but_not_forgotten(api: Client, database: Database) -> None:
    make_ready(database)
    observe(database, observation(status="deleted", deleted=True, observed_at=NOON + timedelta(hours=1)))

    response = api.get(HERE)

    assert response.status_code == 410
    assert response.json()["code"] == "image-deleted"
    assert response.json()["manifest"]["digests"] == {"sha256": SHA256}
    kinds = [event["kind"] for event in api.get(f"{HERE}/history").json()["events"]]
    assert kinds == ["uploaded", "computation-started", "ready", "deleted"]
    assert api.get(f"{HERE}/revisions/1").json()["status"] == "deleted"


def test_sha256sum_reads_the_text_form(local_api: Client, local: Database, tmp_path: Path) -> None:
    content = b"what Nova converted" * 1000
    (tmp_path / CACHE_NAME).write_bytes(content)
    observe(local, observation())
    digests = {"sha256": hashlib.sha256(content).hexdigest(), "md5": hashlib.md5(content).hexdigest()}
    finish(local, claimed(local), computed(digests=digests))
    text = local_api.get(HERE, headers={"Accept": "text/plain"})

    def check(program: str, lines: str) -> int:
        command = [program, "--check", "--strict"]
        return subprocess.run(
            command, input=lines, cwd=tmp_path, text=True, capture_output=True, check=False
        ).returncode

    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert check("sha256sum", text.text) == 0
    assert check("md5sum", local_api.get(f"{HERE}?algorithm=md5", headers={"Accept": "text/plain"}).text) == 0
    (tmp_path / CACHE_NAME).write_bytes(content[:-1])
    assert check("sha256sum", text.text) == 1
    unknown = local_api.get(f"{HERE}?algorithm=sha3_256", headers={"Accept": "text/plain"}).text
    assert "there are: md5, sha256" in unknown
    assert all(line.startswith("#") for line in unknown.splitlines())


def test_other_media_types_are_not_acceptable(local_api: Client, local: Database) -> None:
    make_ready(local)

    assert local_api.get(HERE, headers={"Accept": "image/png"}).status_code == 406
    assert local_api.get(HERE, headers={"Accept": "*/*"}).headers["Content-Type"] == "application/json"


def test_the_list_is_cut_into_pages_that_miss_nothing(api: Client, database: Database) -> None:
    images = [str(uuid4()) for _ in range(25)]
    observe(database, *(observation(image_id=image_id) for image_id in images))
    seen: list[str] = []
    following: str | None = "/v1/manifests?limit=10&status=pending"
    pages = 0
    while following:
        page = api.get(following).json()
        seen += [manifest["image_id"] for manifest in page["manifests"]]
        following = page["links"].get("next")
        pages += 1

    assert seen == images[::-1]
    assert pages == 3


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", ["created_at", "changed_at"])
def test_the_list_is_sorted_and_its_pages_miss_nothing(
    api: Client, database: Database, key: str, direction: str
) -> None:
    images = [str(uuid4()) for _ in range(5)]
    observe(database, *(observation(image_id=image_id) for image_id in images))
    observe(database, observation(image_id=images[0], name="changed last", updated_at=NOON + timedelta(hours=1)))

    seen: list[str] = []
    path: str | None = f"/v1/manifests?limit=2&sort_key={key}&sort_dir={direction}"
    while path is not None:
        page = api.get(path).json()
        seen += [manifest["image_id"] for manifest in page["manifests"]]
        path = page["links"].get("next")

    ascending = images if key == "created_at" else [*images[1:], images[0]]
    assert seen == (ascending if direction == "asc" else ascending[::-1])


def test_an_image_that_changes_between_two_pages_hides_no_other(api: Client, database: Database) -> None:
    images = [str(uuid4()) for _ in range(4)]
    observe(database, *(observation(image_id=image_id) for image_id in images))
    first = api.get("/v1/manifests?limit=2&sort_key=changed_at&sort_dir=asc").json()

    observe(database, observation(image_id=images[1], name="renamed", updated_at=NOON + timedelta(hours=1)))

    rest = api.get(first["links"]["next"].replace("limit=2", "limit=10")).json()["manifests"]
    assert [manifest["image_id"] for manifest in rest] == [*images[2:], images[1]]


def test_a_marker_of_another_order_says_so(local_api: Client, local: Database) -> None:
    make_ready(local)

    wrong = f"2026-11-23T12:00:00.000000Z_{IMAGE_ID}"

    for query in (f"marker={wrong}", f"marker={IMAGE_ID}&sort_key=changed_at"):
        response = local_api.get(f"/v1/manifests?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "unknown-marker")


@pytest.mark.parametrize(
    "path", ["/v1/manifests", f"{HERE}/history", f"{HERE}/revisions/1", "/v1/events", "/v1/openapi.json"]
)
def test_what_somebody_has_already_is_not_sent_again(local_api: Client, local: Database, path: str) -> None:
    make_ready(local)
    first = local_api.get(path)

    again = local_api.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])
    head = local_api.ask("HEAD", path)
    assert (head.status_code, head.text, head.headers["Content-Length"]) == (200, "", first.headers["Content-Length"])


def test_every_filter_finds_what_it_should(api: Client, database: Database) -> None:
    make_ready(database)
    other = str(uuid4())
    observe(database, observation(image_id=other, owner="tenant", disk_format="raw"))

    def found(query: str) -> list[str]:
        return [manifest["image_id"] for manifest in api.get(f"/v1/manifests?{query}").json()["manifests"]]

    assert found("name=q1") == [other, IMAGE_ID]
    assert found("name=Q1") == []
    assert found("status=ready") == [IMAGE_ID]
    assert found("status=pending") == [other]
    assert found("status=deleted") == []
    assert found("disk_format=raw") == [other]
    assert found("owner=tenant") == [other]
    assert found(f"digest=sha256:{SHA256}") == [IMAGE_ID]
    assert found(f"digest=sha256:{'0' * 64}") == []
    assert found(f"cache_name={CACHE_NAME}") == [IMAGE_ID]
    assert found("since=2000-01-01T00:00:00Z") == [other, IMAGE_ID]
    assert found("since=2999-01-01T00:00:00%2B02:00") == []
    observe(database, observation(image_id=other, status="deleted", deleted=True))
    assert found("status=deleted") == [other]


@pytest.mark.parametrize(
    "query",
    [
        "state=ready",
        "status=done",
        "limit=0",
        "limit=-1",
        "limit=99999999999999999999",
        "marker=x",
        "digest=sha256",
        "digest=SHA256:00",
        "cache_name=../etc",
        "since=yesterday",
        "since=9999-12-31T23:59:59-23:59",
        "owner=%00",
    ],
)
def test_a_filter_that_cannot_be_says_which(local_api: Client, query: str) -> None:
    response = local_api.get(f"/v1/manifests?{query}")

    assert response.status_code == 400
    assert response.json()["code"] == "invalid-request"
    assert query.split("=", maxsplit=1)[0] in response.json()["detail"]


def test_an_unknown_marker_says_so(local_api: Client) -> None:
    response = local_api.get(f"/v1/manifests?marker={IMAGE_ID}")

    assert (response.status_code, response.json()["code"]) == (400, "unknown-marker")


def test_a_block_map_is_served_as_it_was_computed(api: Client, database: Database) -> None:
    document = "<?xml version='1.0'?>\n<bmap/>\n" + "x" * 200_000
    observe(database, observation())
    finish(database, claimed(database), computed(block_map=document))

    assert api.get(HERE).json()["links"]["bmap"] == f"{HERE}/bmap"
    response = api.get(f"{HERE}/bmap")

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/xml")
    assert response.text == document
    assert api.get(f"{HERE}/bmap", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("ready", [True, False])
def test_a_manifest_without_a_block_map_says_so(local_api: Client, local: Database, ready: bool) -> None:
    observe(local, observation())
    if ready:
        finish(local, claimed(local))

    assert "bmap" not in local_api.get(HERE).json()["links"]
    response = local_api.get(f"{HERE}/bmap")

    assert (response.status_code, response.json()["code"]) == (404, "no-block-map")
    assert ("ready" if ready else "pending") in response.json()["detail"]


def test_a_client_that_does_not_say_what_it_accepts_gets_json(local_api: Client, local: Database) -> None:
    make_ready(local)

    with urllib.request.urlopen(local_api.url + HERE, timeout=30) as response:  # it sends no Accept header
        assert response.headers["Content-Type"] == "application/json"


def test_no_reason_becomes_a_sum_in_the_text_form(local_api: Client, local: Database) -> None:
    observe(local, observation())
    error = ImageRefused(RefusalCode.CORRUPT_DATA, f"it is odd\n{'0' * 64}  {'a' * 40}")
    task = claimed(local)
    local.transaction(lambda session: queue.finish_without(session, task, error))

    text = local_api.get(f"/v1/manifests/{IMAGE_ID}", headers={"Accept": "text/plain"}).text
    assert all(line.startswith("#") for line in text.splitlines()), text
