"""`GET /v1/export`: everything, in each form, for readers of any pace."""

import csv
import io
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import update

import api.server as serving_api
from api import connections
from api.app import create_app
from manifest_service import config
from manifest_service.attestations import envelope
from manifest_service.errors import ImageRefused, RefusalCode
from manifest_service.manifests import schema, walking
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import ManifestDigest
from manifest_service.manifests.queries import ManifestFilter
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.processing import queue
from tests.api.client import Client
from tests.builders import SHA256, claimed, computed, finish, new_key, observation, observe
from tests.manifests.filling import delete, fill, image_id_of, sha256_of
from tests.servers.postgresql import PostgreSQL
from tests.waiting import eventually

KEY = new_key()
END = b"0\r\n\r\n"
"""How chunked encoding says that an answer is whole."""
MANY = 15000
"""Manifests: more than fit into the buffers of two sockets and of the server."""
ONE, TWO, THREE = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(1, 4))


def publish(database: Database, image_id: str, signed: bool = True, **changes: Any) -> None:
    observe(database, observation(image_id=image_id, **changes))
    finish(database, claimed(database), computed(), KEY if signed else None)


@pytest.fixture
def cloud(database: Database) -> Database:
    """One image that is ready, one that is refused, and one that was deleted."""
    publish(database, ONE, name="first")
    observe(database, observation(image_id=TWO, owner="other"))
    refusal = ImageRefused(RefusalCode.BACKING_FILE, "the disk builds on another file")
    task = claimed(database)
    database.transaction(lambda session: queue.finish_without(session, task, refusal))
    publish(database, THREE, disk_format="raw")
    observe(database, observation(image_id=THREE, status="deleted", disk_format="raw", deleted=True))
    return database


def documents(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.content.endswith(b"\n") or not response.content
    return [json.loads(line) for line in response.content.splitlines()]


def test_json_lines_are_the_manifests_as_the_api_gives_them(cloud: Database, api: Client) -> None:
    response = api.get("/v1/export")

    found = documents(response)
    assert [each["image_id"] for each in found] == [ONE, TWO, THREE]
    assert response.headers["Content-Type"] == "application/jsonl"
    assert response.headers["Content-Disposition"] == 'attachment; filename="manifests.jsonl"'
    assert response.headers["Cache-Control"] == "no-store"
    statement = found[0].pop("statement")
    assert found[:2] == [api.get(f"/v1/manifests/{image_id}").json() for image_id in (ONE, TWO)]
    assert statement == api.get(f"/v1/manifests/{ONE}/statement").json()
    assert (found[2]["status"], found[2]["digests"]) == ("deleted", {"sha256": SHA256})


def test_filters_choose(cloud: Database, api: Client) -> None:
    def ids(query: str) -> list[str]:
        return [each["image_id"] for each in documents(api.get(f"/v1/export?{query}"))]

    assert ids("status=ready") == [ONE]
    assert ids("owner=other") == [TWO]
    assert ids("disk_format=raw&status=deleted") == [THREE]
    assert ids("since=2999-01-01T00:00:00Z") == []


def test_the_sums_are_read_by_sha256sum(local: Database, local_api: Client, tmp_path: Path) -> None:
    for number in range(3):
        publish(local, image_id_of(number))
    disk = computed(digests={"sha256": "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"})
    observe(local, observation(image_id=ONE))
    finish(local, claimed(local), disk)
    name = local_api.get(f"/v1/manifests/{ONE}").json()["cache_name"]
    (tmp_path / name).write_bytes(b"aaa")

    response = local_api.get("/v1/export?format=sha256sums")

    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="SHA256SUMS"'
    command = ["sha256sum", "--check", "--strict", "--ignore-missing"]
    done = subprocess.run(command, input=response.text, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{name}: OK\n"), done.stderr
    assert local_api.get("/v1/export?format=sha256sums&algorithm=md5").text == ""


def test_statements_are_envelopes_that_verify(cloud: Database, api: Client) -> None:
    lines = api.get("/v1/export?format=statements").text.splitlines()

    assert len(lines) == 2
    assert {envelope.verify(envelope.parse(line), [KEY.public]).key_id for line in lines} == {KEY.public.key_id}


def test_a_table_has_a_row_for_each(cloud: Database, api: Client) -> None:
    publish(cloud, image_id_of(0), signed=False, name='=HYPERLINK("http://evil")\nsecond line', owner="a,b")
    response = api.get("/v1/export?format=csv")

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert response.text.count("\r\n") == 5
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["status"] for row in rows] == ["ready", "refused", "deleted", "ready"]
    assert (rows[0]["sha256"], rows[0]["digests"]) == (SHA256, f"sha256:{SHA256}")
    assert rows[0]["key_id"] == KEY.public.key_id
    assert (rows[3]["name"], rows[3]["owner"]) == ('\'=HYPERLINK("http://evil")\\nsecond line', "a,b")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("format=xml", "invalid-request"),
        ("colour=red", "invalid-request"),
        ("since=yesterday", "invalid-request"),
        ("format=csv&block_maps=true", "bad-export"),
        ("format=sha256sums&status=refused", "bad-export"),
        ("format=csv&algorithm=md5", "bad-export"),
    ],
)
def test_what_would_be_another_export_is_refused(local_api: Client, query: str, code: str) -> None:
    response = local_api.get(f"/v1/export?{query}")

    assert (response.status_code, response.json()["code"]) == (400, code)


def test_an_edited_manifest_is_exported_as_one_that_was_with_its_statement(local: Database, local_api: Client) -> None:
    publish(local, ONE)
    with local.engine.begin() as connection:
        connection.execute(update(ManifestDigest).values(value="00" * 32))

    (found,) = documents(local_api.get("/v1/export"))

    assert (found["status"], found["code"], found["digests"]) == ("failed", "manifest-tampered", {})
    assert SHA256 in str(envelope.read(found["statement"]).payload)
    assert local_api.get("/v1/export?format=sha256sums").text == ""


def test_head_goes_through_nothing(local: Database, local_api: Client) -> None:
    response = local_api.ask("HEAD", "/v1/export?format=csv")

    assert (response.status_code, response.headers["Content-Type"].partition(";")[0]) == (200, "text/csv")


def test_what_comes_meanwhile_comes_at_the_end(database: Database) -> None:
    fill(database, 0, 10)
    parts = walking.walk(database, EVERYTHING, ManifestFilter(), part=4)

    first = next(parts)
    fill(database, 10, 13)
    rest = [record.image_id for part in parts for record in part]

    assert [record.image_id for record in first] == [image_id_of(number) for number in range(4)]
    assert rest == [image_id_of(number) for number in range(4, 13)]
    delete(database, 2)
    assert (
        len([record for part in walking.walk(database, EVERYTHING, ManifestFilter(), part=13) for record in part]) == 13
    )


def test_http_1_0_is_refused_since_it_cannot_tell_the_end(local_api: Client) -> None:
    answer = talk(local_api, b"GET /v1/export HTTP/1.0\r\n\r\n")

    assert b" 505 " in answer.partition(b"\r\n")[0]
    assert b"proxy_http_version 1.1" in answer


@pytest.mark.slow
def test_a_few_exports_at_a_time_leave_threads_for_the_rest(local: Database, serve_api: Callable[..., Client]) -> None:
    fill(local, 0, MANY)
    client = serve_api(local, threads=4)
    with slow_reader(client):
        refused = client.get("/v1/export")
        assert (refused.status_code, refused.json()["code"]) == (503, "too-many-exports")
        assert int(refused.headers["Retry-After"]) > 0
        assert client.get("/v1/manifests?limit=1").status_code == 200

    eventually(lambda: an_export_is_answered(client))


@pytest.mark.slow
def test_who_reads_nothing_is_cut_off(
    local: Database, serve_api: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PACE_TIME", 1.0)
    fill(local, 0, MANY)
    client = serve_api(local, threads=4)

    with slow_reader(client) as stuck:
        eventually(lambda: an_export_is_answered(client))
        answer = drain(stuck)

    assert not answer.endswith(END)


@pytest.mark.slow
def test_an_export_that_is_read_in_small_parts_comes_whole(local: Database, local_api: Client) -> None:
    fill(local, 0, 5000)

    with requests.get(f"{local_api.url}/v1/export", stream=True, timeout=30) as response:
        lines = b"".join(response.iter_content(4096)).splitlines()

    assert [json.loads(line)["digests"]["sha256"] for line in lines] == [sha256_of(number) for number in range(5000)]


@pytest.mark.slow
def test_the_end_of_serving_breaks_off_an_export(local: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_api, "GRACE", 0.2)
    fill(local, 0, MANY)
    app = create_app(config.load(), local)
    server = serving_api.ApiServer(app, "127.0.0.1", 0, threads=2, connection_limit=10)
    serving = threading.Thread(target=server.run)
    serving.start()
    with slow_reader(Client(server.port)) as stuck:
        server.stop()
        serving.join(30)
        answer = drain(stuck)

    assert not serving.is_alive()
    assert answer
    assert not answer.endswith(END)


def test_a_database_that_goes_away_breaks_off_the_answer(
    postgresql: PostgreSQL, serve_api: Callable[..., Client]
) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    fill(database, 0, MANY)
    client = serve_api(database)
    try:
        with slow_reader(client) as stuck:
            # Who is slow to read holds no connection of the database.
            eventually(lambda: database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
            postgresql.kill()
            answer = drain(stuck)
        assert not answer.endswith(END)
        assert client.get("/v1/export").status_code == 503
    finally:
        postgresql.start()
        database.close()
        postgresql.drop(url)


def an_export_is_answered(client: Client) -> bool:
    return requests.get(f"{client.url}/v1/export?status=pending", timeout=30).status_code == 200


@contextmanager
def slow_reader(client: Client) -> Iterator[socket.socket]:
    """Asks for everything, and has read one byte of the answer."""
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.settimeout(30)
        stuck.connect(("127.0.0.1", int(client.url.rpartition(":")[2])))
        stuck.sendall(b"GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stuck.recv(1) == b"H"
        yield stuck


def drain(stuck: socket.socket) -> bytes:
    """All that still comes, until the other side has closed."""
    answer = bytearray()
    with suppress(ConnectionResetError):
        while part := stuck.recv(1 << 20):
            answer += part
    return bytes(answer)


def talk(client: Client, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(client.url.rpartition(":")[2])), 30) as asking:
        asking.sendall(request)
        return drain(asking)
