"""What the configuration holds in confidence: in no log, message, answer or page, whatever goes wrong."""

import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from api.app import create_app
from manifest_service import config
from manifest_service.attestations.keys import generate_private_key
from manifest_service.commands.duty_wiring import make_duties
from manifest_service.commands.wiring import make_worker_pool
from manifest_service.errors import UsageError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests.database import Database, DatabaseAway
from notifications.listener import open_transport
from tests.builders import IMAGE_ID
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import (
    EXECUTABLE,
    ApiProcess,
    ListenerProcess,
    ServiceProcess,
    Settings,
    WorkerProcess,
    write_config,
)
from tests.waiting import eventually

SECRETS = {
    "broker": "broker-hunter2",
    "database": "database-hunter2",
    "glance": "glance-hunter2",
    "keystone": "keystone-hunter2",
    "s3": "s3-hunter2",
    "swift": "swift-hunter2",
}
TOKEN = "token-hunter2"
"""A caller's."""
PATHS = (
    "/",
    "/healthcheck",
    "/metrics",
    "/images",
    "/fleet",
    "/v1/events",
    "/v1/export",
    "/v1/keys",
    "/v1/manifests",
    "/v1/openapi.json",
    f"/images/{IMAGE_ID}",
    f"/v1/manifests/{IMAGE_ID}",
    f"/v1/manifests/{IMAGE_ID}/history",
    f"/v1/manifests/{IMAGE_ID}/statement",
)
COMMANDS = ("api", "backfill", "db upgrade", "listener", "worker")
"""Of those that need the database, each other kind of start."""


def settings_of(folder: Path, **sections: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """A configuration with a secret in each place that can have one; where it leads to, nobody answers."""
    key = folder / "signing-key.pem"
    if not key.exists():
        generate_private_key(key)
    nobody = free_port()
    return {
        "DEFAULT": {
            "debug": "true",
            "state_path": folder,
            "transport_url": f"rabbit://someone:{SECRETS['broker']}@127.0.0.1:{nobody}/",
        },
        "database": {
            "connection": f"postgresql+psycopg://someone:{SECRETS['database']}@127.0.0.1:{nobody}/manifests",
            "max_retries": 0,
        },
        "glance": {
            "auth_type": "password",
            "auth_url": f"http://127.0.0.1:{nobody}/v3",
            "username": "someone",
            "password": SECRETS["glance"],
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "keystone_authtoken": {
            "www_authenticate_uri": f"http://127.0.0.1:{nobody}/v3",
            "auth_type": "password",
            "auth_url": f"http://127.0.0.1:{nobody}/v3",
            "username": "someone",
            "password": SECRETS["keystone"],
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "http_request_max_retries": 0,
        },
        "glance_store": {
            "stores": "file,http,s3,swift",
            "s3_store_host": f"http://127.0.0.1:{nobody}",
            "s3_store_access_key": "someone",
            "s3_store_secret_key": SECRETS["s3"],
            "s3_store_bucket": "images",
            "swift_store_auth_address": f"http://127.0.0.1:{nobody}/v3",
            "swift_store_auth_version": 3,
            "swift_store_user": "project:someone",
            "swift_store_key": SECRETS["swift"],
        },
        "attestations": {"signing_key": key},
        "worker": {"max_attempts": 1},
        **sections,
    }


def require_no_secret(text: str, folder: Path, *more: str) -> None:
    """The key's own lines count, too."""
    lines = (folder / "signing-key.pem").read_text().splitlines()
    for secret in (*SECRETS.values(), *more, *(line for line in lines if "-----" not in line)):
        assert secret not in text


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_reaches_no_database_keeps_the_secrets(command: str, tmp_path: Path) -> None:
    file = write_config(tmp_path / "service.conf", settings_of(tmp_path))

    ended = subprocess.run(
        [EXECUTABLE, *command.split(), "--config-file", file],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    require_no_secret(ended.stdout + ended.stderr, tmp_path)


@pytest.mark.parametrize(
    "connection",
    [
        "postgresql+psycopg://someone:{secret}@[bad/manifests",
        "postgresql+psycopg://someone:{secret}@127.0.0.1:port/manifests",
        "postgresql+nothing://someone:{secret}@127.0.0.1/manifests",
        "nothing://someone:{secret}@127.0.0.1/manifests",
        "{secret}",
    ],
)
def test_a_database_url_that_is_none_is_not_repeated(connection: str) -> None:
    with pytest.raises((UsageError, DatabaseAway)) as caught:
        Database(connection.format(secret=SECRETS["database"]), connect_retries=0)

    assert SECRETS["database"] not in str(caught.value)


def test_all_options_can_be_logged(local: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    conf = config.load([str(write_config(tmp_path / "service.conf", settings_of(tmp_path)))])
    stores = ImageStores(conf)
    make_worker_pool(conf, local, stores)
    make_duties(conf, local, stores, has_glance=True)
    open_transport(conf).cleanup()
    caplog.set_level(logging.DEBUG)

    conf.log_opt_values(logging.getLogger("options"), logging.DEBUG)

    assert "s3_store_secret_key" in caplog.text
    assert "transport_url" in caplog.text
    require_no_secret(caplog.text, tmp_path)


@pytest.mark.slow
def test_an_api_that_cannot_ask_keystone_keeps_its_password_and_the_callers_tokens(
    local: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = config.load(
        [str(write_config(tmp_path / "c.conf", settings_of(tmp_path, api={"auth_strategy": "keystone"})))]
    )
    caplog.set_level(logging.DEBUG)
    caller = create_app(conf, local).test_client()

    answers = [caller.get(path, headers={"X-Auth-Token": TOKEN}, buffered=True) for path in PATHS]
    conf.log_opt_values(logging.getLogger("options"), logging.DEBUG)

    assert "keystone-away" in {(answer.get_json(silent=True) or {}).get("code") for answer in answers}
    assert "keystone_authtoken.password" in caplog.text
    require_no_secret(caplog.text + "".join(answer.text for answer in answers), tmp_path, TOKEN)


@pytest.mark.slow
def test_processes_at_work_keep_the_secrets(
    rabbitmq: RabbitMQ, transport_url: str, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.create_database()
    settings: Settings = settings_of(
        tmp_path,
        DEFAULT={"debug": "true", "state_path": tmp_path, "transport_url": transport_url},
        database={"connection": url},
    )
    passwords = (rabbitmq.password, postgresql.password)
    file = write_config(tmp_path / "service.conf", settings)
    upgraded = subprocess.run(
        [EXECUTABLE, "db", "upgrade", "--config-file", file], capture_output=True, text=True, check=True
    )
    processes: list[ServiceProcess] = [
        kind(tmp_path / kind.name, settings) for kind in (ListenerProcess, WorkerProcess, ApiProcess)
    ]
    try:
        for process in processes:
            process.start()
        api = f"http://127.0.0.1:{processes[-1].port}"
        image = {"disk_format": "qcow2", "size": 5}
        requests.post(f"{api}/v1/manifests/{IMAGE_ID}/computations", json={"image": image}, timeout=30)
        eventually(lambda: requests.get(f"{api}/v1/manifests/{IMAGE_ID}", timeout=30).json()["status"] == "failed")
        answers = "".join(requests.get(api + path, timeout=30).text for path in PATHS)
        postgresql.kill()
        answers += "".join(requests.get(api + path, timeout=30).text for path in PATHS)
    finally:
        for process in processes:
            process.stop()
        postgresql.start()
        postgresql.drop(url)

    logs = "".join(process.log_text() for process in processes)
    assert "listening for notifications" in logs
    require_no_secret(answers + logs + upgraded.stdout + upgraded.stderr, tmp_path, *passwords)
