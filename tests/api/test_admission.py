"""Who is let in at all, and with which configuration nobody is."""

from pathlib import Path

import pytest
from oslo_config import cfg

from api.app import create_app
from manifest_service import config
from manifest_service.errors import UsageError
from manifest_service.manifests.database import Database
from tests.api.keystone_app import make_app
from tests.servers.service import Settings, write_config


def conf_of(folder: Path, settings: Settings) -> cfg.ConfigOpts:
    return config.load([str(write_config(folder / "api.conf", settings))])


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.9.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.0.2.1", 403),
        ("::ffff:192.0.2.1", 403),
        ("2001:db8::1", 403),
        ("", 403),
        ("localhost", 403),
    ],
)
def test_without_authentication_only_this_machine_is_let_in(
    address: str, status: int, local: Database, tmp_path: Path
) -> None:
    """Also behind a server that listens for others: uWSGI or gunicorn, which read none of our [api] listen."""
    told = create_app(conf_of(tmp_path, {}), local).test_client()
    asked_for = create_app(conf_of(tmp_path, {"api": {"listen_without_auth": "true"}}), local).test_client()

    response = told.get("/v1/manifests", environ_base={"REMOTE_ADDR": address}, buffered=True)

    assert response.status_code == status
    assert status == 200 or response.get_json()["code"] == "not-local"
    assert asked_for.get("/v1/manifests", environ_base={"REMOTE_ADDR": address}, buffered=True).status_code == 200


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "auth_type is not set"),
        ({"auth_type": "no-such-way"}, "keystone_authtoken"),
    ],
)
def test_keystone_that_is_not_configured(options: dict[str, str], told: str, local: Database, tmp_path: Path) -> None:
    settings = {"api": {"auth_strategy": "keystone"}, "keystone_authtoken": options}

    with pytest.raises(UsageError, match=told) as caught:
        create_app(conf_of(tmp_path, settings), local)

    assert caught.value.code == "bad-configuration"


@pytest.mark.parametrize(
    "text",
    [
        "not: [a policy",
        '"manifests:list": "rule:no-such-rule"',
        '"manifests:list": "rule:manifests:list"',
        "[1]",
        "just words",
    ],
)
def test_a_policy_file_that_is_none_is_told_at_the_start(text: str, local: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make_app(local, tmp_path, text)

    assert caught.value.code == "bad-policy"
