"""The API behind nginx and HAProxy, and under gunicorn with TLS, as etc/tls has them."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import uuid4

import pytest
import sqlalchemy as sa

from api.app import create_app
from api.server import ApiServer
from manifest_service import config
from manifest_service.manifests.database import Database
from tests.api.raw import say, status_of
from tests.api.test_verifications import verification
from tests.builders import IMAGE_ID, claim, finish, observation, observe
from tests.servers.authority import Authority
from tests.servers.service import write_config
from tests.servers.tls import HOST, PROMETHEUS, Gunicorn, HAProxy, Nginx, TlsServer
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.servers]

PATIENCE = 120
"""Seconds: the first request under gunicorn waits for the application to be made."""
CALLER = "127.0.0.77"
PENDING = str(uuid4())
PROXIES = ["nginx", "haproxy"]
ALL = [*PROXIES, "gunicorn"]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that other users reach: root has the proxies run as them."""
    with TemporaryDirectory(prefix="manifest-service-tests-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "ours")


@pytest.fixture(scope="module")
def stored(folder: Path, migrated_file: Path) -> Path:
    """A database that knows an image with a manifest, and one that waits for its own."""
    path = folder / "manifests.sqlite"
    copyfile(migrated_file, path)
    database = Database(f"sqlite:///{path}")
    observe(database, observation())
    task = claim(database)
    assert task is not None
    finish(database, task)
    observe(database, observation(image_id=PENDING))
    database.close()
    return path


@contextmanager
def serving(folder: Path, path: Path) -> Iterator[int]:
    """The API's own server over a database; gives its port."""
    database = Database(f"sqlite:///{path}")
    conf = config.load([str(write_config(folder / "empty.conf", {}))])
    server = ApiServer(create_app(conf, database), "127.0.0.1", 0, threads=4, connection_limit=100)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.port
    finally:
        server.stop()
        thread.join()
        database.close()


@pytest.fixture(scope="module")
def api_port(folder: Path, stored: Path) -> Iterator[int]:
    with serving(folder, stored) as port:
        yield port


@pytest.fixture(scope="module")
def nginx(folder: Path, authority: Authority, api_port: int) -> Iterator[Nginx]:
    with Nginx(folder / "nginx", authority, api_port) as server:
        yield server


@pytest.fixture(scope="module")
def haproxy(folder: Path, authority: Authority, api_port: int) -> Iterator[HAProxy]:
    with HAProxy(folder / "haproxy", authority, [api_port, api_port]) as server:
        yield server


@pytest.fixture(scope="module")
def gunicorn(folder: Path, authority: Authority, stored: Path) -> Iterator[Gunicorn]:
    conf = write_config(folder / "api.conf", {"database": {"connection": f"sqlite:///{stored}"}})
    with Gunicorn(folder / "gunicorn", authority, conf) as server:
        yield server


@pytest.fixture
def front(request: pytest.FixtureRequest) -> TlsServer:
    """The one that the test's parameter names."""
    return cast(TlsServer, request.getfixturevalue(request.param))


behind_each = pytest.mark.parametrize("front", ALL, indirect=True)
behind_proxies = pytest.mark.parametrize("front", PROXIES, indirect=True)


@contextmanager
def connected(front: TlsServer, source: str = "127.0.0.1") -> Iterator[HTTPSConnection]:
    """A connection that verifies the certificate, and comes from one of this machine's own addresses."""
    trusting = ssl.create_default_context(cafile=str(front.authority.certificate))
    connection = HTTPSConnection(
        "127.0.0.1", front.port, timeout=PATIENCE, source_address=(source, 0), context=trusting
    )
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: HTTPSConnection, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[HTTPResponse, str]:
    """The answer, and its body."""
    sent = {"Host": HOST, **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):  # Who refuses a body may have heard enough.
        connection.request(method, path, None if body is None else json.dumps(body), sent)
    response = connection.getresponse()
    return response, response.read().decode()


@behind_each
def test_one_connection_serves_a_manifest_and_takes_in_verifications(front: TlsServer) -> None:
    report = {"node": "compute-1", "verifications": [verification() for _ in range(200)]}
    with connected(front) as connection:
        connection.connect()
        used = connection.sock

        manifest, text = ask(connection, "GET", f"/v1/manifests/{IMAGE_ID}")
        recorded, counts = ask(connection, "POST", "/v1/verifications", report)
        again, _ = ask(
            connection, "GET", f"/v1/manifests/{IMAGE_ID}", headers={"If-None-Match": manifest.headers["ETag"]}
        )

        assert (manifest.status, json.loads(text)["status"]) == (200, "ready")
        assert (recorded.status, json.loads(counts)["recorded"]) == (201, 200)
        assert again.status == 304
        assert connection.sock is used


@behind_each
def test_an_answer_says_when_to_ask_again(front: TlsServer) -> None:
    with connected(front) as connection:
        response, _ = ask(connection, "GET", f"/v1/manifests/{PENDING}")

    assert response.status == 202
    assert int(response.headers["Retry-After"]) > 0


@behind_each
def test_an_export_is_streamed_whole(front: TlsServer) -> None:
    with connected(front) as connection:
        response, text = ask(connection, "GET", "/v1/export")

    assert response.headers["Transfer-Encoding"] == "chunked"
    assert [json.loads(line)["image_id"] for line in text.splitlines()] == [IMAGE_ID, PENDING]


@behind_each
def test_the_pages_are_found_under_the_name_outside(front: TlsServer) -> None:
    with connected(front) as connection:
        response, _ = ask(connection, "GET", "/", headers={"Accept": "text/html"})

    assert (response.status, response.headers["Location"]) == (303, "/images")


@behind_each
def test_only_our_own_pages_change_something(front: TlsServer) -> None:
    path, origin = f"/v1/manifests/{PENDING}/computations", {"Origin": f"https://{HOST}"}
    with connected(front) as connection:
        ours, _ = ask(connection, "POST", path, headers={**origin, "Sec-Fetch-Site": "same-origin"})
        others, problem = ask(connection, "POST", path, headers={**origin, "Sec-Fetch-Site": "cross-site"})

    assert ours.status == 202
    assert (others.status, json.loads(problem)["code"]) == (403, "cross-site")


@behind_each
def test_a_large_body_is_refused_by_the_api(front: TlsServer) -> None:
    with connected(front) as connection:
        response, problem = ask(connection, "POST", "/v1/lookups", {"digests": ["a" * 300_000]})

    assert (response.status, json.loads(problem)["code"]) == (413, "body-too-large")


def test_a_far_larger_body_is_refused_by_nginx(nginx: Nginx) -> None:
    with connected(nginx) as connection:
        response, _ = ask(connection, "POST", "/v1/lookups", {"digests": ["a" * (1 << 20)]})

    assert response.status == 413


@behind_each
def test_a_long_token_passes(front: TlsServer) -> None:
    with connected(front) as connection:
        response, _ = ask(connection, "GET", "/v1/manifests", headers={"X-Auth-Token": "a" * 30_000})

    assert response.status == 200


@behind_proxies
def test_headers_that_are_too_long_are_refused_by_the_api(front: TlsServer) -> None:
    headers = {"X-Auth-Token": "a" * 20_000, "X-Service-Token": "b" * 20_000}
    with connected(front) as connection:
        response, problem = ask(connection, "GET", "/v1/manifests", headers=headers)

    assert (response.status, json.loads(problem)["code"]) == (431, "headers-too-large")


@behind_each
def test_plain_http_is_not_answered(front: TlsServer) -> None:
    answer = say(front.port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert answer == b"" or status_of(answer) == 400
    assert b"versions" not in answer


FORGED = {
    "X-Forwarded-For": "192.0.2.66",
    "X-Real-IP": "192.0.2.66",
    "Forwarded": "for=192.0.2.66",
    "X-Openstack-Request-Id": "",
}


@behind_proxies
def test_the_proxy_says_who_asked_and_the_api_believes_no_header(
    front: Nginx | HAProxy, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = f"req-{uuid4()}"
    with caplog.at_level(logging.INFO, "api.access"), connected(front, CALLER) as connection:
        ask(connection, "GET", "/v1/manifests?limit=7", headers={**FORGED, "X-Openstack-Request-Id": request_id})

        # Each logs a request when its answer has gone out, which may be after it has come in.
        eventually(lambda: request_id in front.accesses())
        eventually(lambda: any("?limit=7 " in told for told in caplog.messages))

    line = next(line for line in front.accesses().splitlines() if request_id in line)
    assert CALLER in line
    assert "192.0.2.66" not in line
    told = next(told for told in caplog.messages if "?limit=7 " in told)
    assert told.endswith("caller: 127.0.0.1")


def test_gunicorn_says_who_asked_and_believes_no_header(gunicorn: Gunicorn) -> None:
    request_id = f"req-{uuid4()}"
    with connected(gunicorn, CALLER) as connection:
        ask(connection, "GET", "/v1/manifests?limit=7", headers={**FORGED, "X-Openstack-Request-Id": request_id})

    def lines() -> list[str]:
        return [line for line in gunicorn.log.read_text().splitlines() if request_id in line]

    eventually(lambda: len(lines()) == 2)
    assert all(CALLER in line and "192.0.2.66" not in line for line in lines())


METRICS = [
    "/metrics",
    "/metrics?a=b",
    "//metrics",
    "/%2Fmetrics",
    "/%6detrics",
    "/./metrics",
    "/x/../metrics",
    f"http://{HOST}/metrics",
    f"https://{HOST}//metrics",
]
"""Ways to write it; some of them lead to the same resource."""


@behind_proxies
@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_for_prometheus_however_they_are_asked_for(front: TlsServer, path: str) -> None:
    forged = {"X-Forwarded-For": PROMETHEUS, "SCRIPT_NAME": "/x"}
    with connected(front) as connection:
        response, text = ask(connection, "GET", path, headers=forged)

    assert response.status in (400, 403, 404)
    assert "manifest_service_" not in text


@behind_proxies
def test_metrics_are_answered_to_prometheus(front: TlsServer) -> None:
    with connected(front, PROMETHEUS) as connection:
        response, text = ask(connection, "GET", "/metrics")

    assert response.status == 200
    assert "manifest_service_requests_total" in text


SLOW: list[bytes] = [
    b"",
    b"GET / HTTP/1.1\r\nHost: manifests.example\r\nX-Auth-",
    b"POST /v1/lookups HTTP/1.1\r\nHost: manifests.example\r\nContent-Type: application/json\r\n"
    b"Content-Length: 90\r\n\r\n{",
]
"""Nothing, half the headers, and half the body."""


@behind_proxies
@pytest.mark.parametrize("begun", SLOW)
def test_slow_clients_hold_up_nobody(front: TlsServer, begun: bytes) -> None:
    with ExitStack() as held:
        for _ in range(30):
            slow = held.enter_context(connected(front))
            slow.connect()
            cast(socket.socket, slow.sock).sendall(begun)

        with connected(front) as connection:
            response, _ = ask(connection, "GET", "/v1/manifests")

    assert response.status == 200


def test_haproxy_leaves_out_an_api_that_is_not_healthy(
    folder: Path, authority: Authority, migrated_file: Path, tmp_path: Path
) -> None:
    """One of two says by its answer which one it is: it knows no image."""
    without, knowing = tmp_path / "without.sqlite", tmp_path / "knowing.sqlite"
    for path in (without, knowing):
        copyfile(migrated_file, path)
    database = Database(f"sqlite:///{knowing}")
    observe(database, observation())
    database.close()
    with (
        serving(tmp_path, without) as one,
        serving(tmp_path, knowing) as other,
        HAProxy(folder / "balancing", authority, [one, other]) as front,
    ):

        def statuses() -> set[int]:
            found = set()
            for _ in range(6):
                with connected(front) as connection:
                    found.add(ask(connection, "GET", f"/v1/manifests/{IMAGE_ID}")[0].status)
            return found

        eventually(lambda: statuses() == {404, 202})
        with sa.create_engine(f"sqlite:///{without}").begin() as older:
            older.execute(sa.text("DELETE FROM manifest_service_version"))

        eventually(lambda: statuses() == {202})
