"""The API as its own process, with tokens of a real Keystone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import claim, finish, observation, observe
from tests.servers.keystone import Keystone
from tests.servers.service import ApiProcess
from tests.waiting import eventually

OURS, THEIRS, PUBLIC = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(3))


@pytest.fixture(scope="module")
def served(keystone_server: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An API over an image of each project, and a public one."""
    keystone_server.start()
    folder = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{folder}/manifests.sqlite"
    database = Database(url)
    schema.upgrade(database)
    projects = {user.project: user.project_id for user in keystone_server.users.values()}
    for image_id, project, visibility in (
        (OURS, "ours", "private"),
        (THEIRS, "theirs", "shared"),
        (PUBLIC, "theirs", "public"),
    ):
        observe(database, observation(image_id=image_id, owner=projects[project], visibility=visibility))
        task = claim(database)
        assert task is not None
        finish(database, task)
    database.close()
    config = keystone_server.service_config()
    with ApiProcess(folder / "process", {**config, "database": {"connection": url}}) as process:
        process.start()
        yield Client(process.port)


def status(api: Client, path: str, token: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.get(path, headers={"X-Auth-Token": token, **named}).status_code


@pytest.mark.parametrize(
    ("user", "of_images", "listed", "export"),
    [
        ("reader-ours", (200, 404, 200), 200, 403),
        ("member-theirs", (404, 200, 200), 200, 403),
        ("service-ours", (200, 200, 200), 403, 403),
        ("auditor-ours", (200, 200, 200), 200, 200),
        ("admin-ours", (200, 200, 200), 200, 200),
    ],
)
def test_roles_of_real_tokens(
    user: str, of_images: tuple[int, ...], listed: int, export: int, keystone: Keystone, served: Client
) -> None:
    token = keystone.token(user)

    assert tuple(status(served, f"/v1/manifests/{image_id}", token) for image_id in (OURS, THEIRS, PUBLIC)) == of_images
    assert status(served, "/v1/manifests", token) == listed
    assert status(served, "/v1/export", token) == export


def test_an_administrator_of_the_system_sees_everything(keystone: Keystone, served: Client) -> None:
    assert status(served, f"/v1/manifests/{THEIRS}", keystone.system_token()) == 200


def test_a_revoked_token_and_one_that_never_was(keystone: Keystone, served: Client) -> None:
    token = keystone.token("reader-ours")
    keystone.revoke(token)

    for bad in (token, "gAAAAA-no-token", "x" * 5000, "%00"):
        answer = served.get(f"/v1/manifests/{OURS}", headers={"X-Auth-Token": bad})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid-token")
        assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'


def test_headers_of_the_caller_s_own_count_for_nothing(served: Client) -> None:
    forged = {"X-Identity-Status": "Confirmed", "X-Roles": "admin", "OpenStack-System-Scope": "all", "X-User-Id": "me"}

    for headers in (forged, {**forged, "X-Auth-Token": "none"}):
        assert served.get("/v1/manifests", headers=headers).status_code == 401


def test_an_expired_token_counts_only_with_a_service_s_own(keystone: Keystone, served: Client) -> None:
    token = keystone.expired_token("reader-ours")
    assert status(served, f"/v1/manifests/{OURS}", token) == 401

    of_service, of_reader = keystone.token("service-ours"), keystone.token("reader-ours")
    assert status(served, f"/v1/manifests/{OURS}", token, X_Service_Token=of_service) == 200
    assert status(served, f"/v1/manifests/{THEIRS}", token, X_Service_Token=of_service) == 404
    assert status(served, f"/v1/manifests/{OURS}", token, X_Service_Token=of_reader) == 401


def test_without_keystone_what_is_public_is_answered_and_all_else_is_told(keystone: Keystone, served: Client) -> None:
    token = keystone.token("reader-ours")
    keystone.stop()
    try:
        answer = served.get("/v1/manifests", headers={"X-Auth-Token": token})
        health = served.get("/healthcheck", headers={"X-Auth-Token": token})
    finally:
        keystone.start()

    assert (answer.status_code, answer.json()["code"]) == (503, "keystone-away")
    assert answer.headers["Retry-After"]
    assert health.status_code == 200
    eventually(lambda: status(served, "/v1/manifests", token) == 200)


def test_a_service_user_that_keystone_does_not_accept(keystone: Keystone, served: Client, tmp_path: Path) -> None:
    config = keystone.service_config()
    config["keystone_authtoken"]["password"] = "another-SECRET"
    database = Database(f"sqlite:///{tmp_path}/empty.sqlite")
    schema.upgrade(database)
    database.close()
    settings = {**config, "database": {"connection": f"sqlite:///{tmp_path}/empty.sqlite"}}

    with ApiProcess(tmp_path / "process", settings) as process:
        process.start()
        headers = {"X-Auth-Token": keystone.token("reader-ours")}
        answer = Client(process.port).get("/v1/manifests", headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (503, "keystone-away")
        assert "Keystone cannot be asked about a token" in process.log_text()
        assert "another-SECRET" not in process.log_text()
        assert "Traceback" not in process.log_text()
