"""Requests that no ordinary client sends: each is answered with a problem document, and the next one as ever."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile

import pytest

from api.app import create_app
from api.server import ApiServer
from manifest_service import config
from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.api.raw import body_of, connected, rest_of, say, status_of
from tests.api.test_requests import make_ready
from tests.builders import IMAGE_ID

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
POST = b"POST /v1/lookups HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
SECOND = b"GET /v1/keys HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def api(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One API for all: none of these requests may leave a trace."""
    folder = tmp_path_factory.mktemp("hostile")
    copyfile(migrated_file, folder / "manifests.sqlite")
    database = Database(f"sqlite:///{folder}/manifests.sqlite")
    (folder / "empty.conf").touch()
    app = create_app(config.load([str(folder / "empty.conf")]), database)
    server = ApiServer(app, "127.0.0.1", 0, threads=4, connection_limit=100)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Client(server.port)
    server.stop()
    thread.join()
    database.close()


@pytest.fixture
def port(api: Client) -> int:
    return int(api.url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (GET + b"".join(b"X%d: a\r\n" % number for number in range(5000)) + b"\r\n", 431, "headers-too-large"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "headers-too-large"),
        (POST + b"Content-Length: 9000000\r\n\r\n", 413, "body-too-large"),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "bad-request"),
        (POST + b"Content-Length: -1\r\n\r\n", 400, "bad-request"),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "bad-request"),
        # Request smuggling: two servers in a row must not find different ends of one request.
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND, 400, "bad-request"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n" + SECOND, 400, "bad-request"),
        (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501, "unknown-transfer-coding"),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 501, "unknown-transfer-coding"),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff0g\r\n", 400, "bad-request"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"\x00" * 10 + b"\r\n{}\r\n0\r\n\r\n", 400, "bad-request"),
        (GET + b"X: a\nY: b\r\n\r\n", 400, "bad-request"),
        (GET + b"X: a\rY: b\r\n\r\n", 400, "bad-request"),
        (GET + b"X: a\x00b\r\n\r\n", 400, "bad-request"),
        (GET + b"Host: b\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-request"),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "not-found"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad-request"),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "not-found"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    port: int, request_: bytes, status: int, code: str
) -> None:
    answer = say(port, request_)

    assert (status_of(answer), json.loads(body_of(answer))["code"]) == (status, code), answer
    assert b"Content-Type: application/problem+json" in answer
    assert status_of(say(port, GET + b"Accept: application/json\r\n\r\n")) == 200


def test_of_two_answers_to_one_connection_none_is_to_a_smuggled_request(port: int) -> None:
    answer = say(port, POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND)

    assert answer.count(b"X-Openstack-Request-Id") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/manifests/%00",
        "/v1/manifests/%ff%fe",
        "/v1/manifests/%252e%252e%252fetc",
        "/v1/manifests/..%2f..%2fetc%2fpasswd",
        "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/v1/manifests/" + "a" * 20_000,
        "/v1/manifests/%c0%ae%c0%ae",
        f"/v1/manifests/{IMAGE_ID}%20",
        f"/v1/manifests/{IMAGE_ID}%0d%0aSet-Cookie:a",
        f"/v1/manifests/{IMAGE_ID}/revisions/" + "9" * 5000,
        f"/v1/manifests/{IMAGE_ID}/revisions/-1",
        "/v1/manifests?limit=" + "9" * 5000,
        "/v1/manifests?limit=1e9",
        "/v1/manifests?name=" + "a" * 300,
        "/v1/manifests?name=%00",
        "/v1/manifests?name=%ff%00",
        "/v1/manifests?owner=%ed%a0%80%00",
        "/v1/manifests?marker=%27%3b%20drop%20table%20images",
        "/v1/manifests?digest=sha256:" + "a" * 200,
        "/v1/manifests?" + "&".join(f"x{number}=1" for number in range(2000)),
        "/v1/manifests?since=9999-12-31T23:59:59-23:59",
        "/v1/export?algorithm=../../etc",
        "/v1/verifications?node=" + "a" * 256,
        "/v1/events?marker=99999999999999999999",
        "/images?status=%3Cscript%3E",
        "/images?older=%00",
        "/fleet?after=%00",
        "/fleet/files?node=%01",
        "/images/%00",
    ],
)
def test_hostile_paths_and_queries_are_told_so(api: Client, path: str) -> None:
    answer = api.get(path)

    assert 400 <= answer.status_code < 500, answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 100])
def test_other_methods_are_told_which_there_are(api: Client, method: str) -> None:
    answer = api.ask(method, "/v1/lookups")

    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]


def test_a_member_that_stands_there_twice_is_refused(api: Client) -> None:
    body = '{"digests": [], "digests": ["sha256:%s"]}' % ("0" * 64)

    answer = api.post("/v1/lookups", data=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-json")


@pytest.mark.parametrize(
    "body",
    [
        '{"image_ids": [%s]}' % ("9" * 10_000),
        '{"image_ids": [1e999999]}',
        '{"image_ids": [NaN]}',
        '{"image_ids": [-Infinity]}',
        '{"image_ids": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"digests": ["' + "a" * 200_000 + '"]}',
        '{"cache_names": ["\\ud800"]}',
        '{"\\ud800": 1}',
        '\ufeff{"digests": []}',
        '{"digests": []} {"digests": []}',
    ],
)
def test_hostile_json_is_told_so(api: Client, body: str) -> None:
    answer = api.post("/v1/lookups", data=body.encode(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert len(answer.content) < 5000


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "a" * 5000}, {"Forwarded": "for=b"}, {"Script-Name": "/x"}])
def test_headers_of_proxies_change_nothing(api: Client, headers: dict[str, str]) -> None:
    assert api.get("/v1/manifests", headers=headers).json()["links"] == {"self": "/v1/manifests"}


@pytest.mark.parametrize("given", ["req-1", "a\tb", "req-" + "0" * 36, "x" * 5000, "\u00e9"])
def test_a_request_id_that_is_none_is_not_passed_on(api: Client, given: str) -> None:
    answer = api.get("/v1/keys", headers={"X-Openstack-Request-Id": given.encode().decode("latin-1")})

    assert answer.headers["X-Openstack-Request-Id"] != given


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_answer_to_head_has_headers_and_nothing_more(
    local: Database, serve_api: Callable[..., Client], version: bytes
) -> None:
    make_ready(local)
    port = int(serve_api(local).url.rpartition(":")[2])

    for path in ("/v1/export", "/v1/manifests", f"/v1/manifests/{IMAGE_ID}", "/missing", "/v1/keys", "/images"):
        answer = say(port, b"HEAD %b HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % (path.encode(), version))
        assert answer.startswith(b"HTTP/")
        assert body_of(answer) == b"", path


def test_an_answer_to_head_that_was_not_understood_has_no_body(port: int) -> None:
    answer = say(port, b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n")

    assert (status_of(answer), body_of(answer)) == (400, b"")


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(SECOND * 50 + GET + b"\r\n")
        answer = rest_of(connection)

    assert answer.count(b"HTTP/1.1 200 OK") + answer.count(b"HTTP/1.1 303") == 51
