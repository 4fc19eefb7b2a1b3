"""The DevStack plugin, over stand-ins for DevStack's functions: what it writes, and what it has run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from manifest_service import config

DEVSTACK = Path(__file__).parents[1] / "devstack"

_STAND_INS = r"""
set -euo pipefail
tell() { echo "$*" >>"$LOG"; }
sudo() { "$@"; }
iniset() { printf '[%s]\n%s = %s\n' "$2" "$3" "$4" >>"$1"; }
get_notification_url() { echo rabbit://stackrabbit:secret@10.0.0.1:5672/; }
database_connection_url() { echo "$DATABASE://root:secret@127.0.0.1/$1?charset=utf8"; }
recreate_database() { tell recreate_database "$@"; }
create_service_user() { tell create_service_user "$@"; }
install_package() { tell install_package "$@"; }
run_process() { tell run_process "$@"; }
stop_process() { tell stop_process "$@"; }
enable_service() { tell enable_service "$@"; }
python3() { tell python3 "$@"; }
STACK_USER=$(id -un) ENABLE_DEBUG_LOG_LEVEL=True SERVICE_PASSWORD=secret SERVICE_DOMAIN_NAME=Default
SERVICE_PROJECT_NAME=service KEYSTONE_SERVICE_URI=http://10.0.0.1/identity
"""


@pytest.fixture
def devstack(tmp_path: Path) -> Path:
    """A folder in which DevStack has all it needs."""
    for name in ("pip", "manifest-service"):
        program = tmp_path / "data" / "manifest-service-venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"$LOG"\n')
        program.chmod(0o755)
    return tmp_path


def run(folder: Path, *phases: str, database: str = "mysql+pymysql") -> list[str]:
    """Have DevStack call the plugin; answers what it had run."""
    script = _STAND_INS + f"source {DEVSTACK}/settings\n"
    script += "".join(f"source {DEVSTACK}/plugin.sh {phase}\n" for phase in phases)
    environment = {
        "PATH": "/usr/bin:/bin",
        "LOG": str(folder / "log"),
        "DATABASE": database,
        "DEST": str(folder),
        "DATA_DIR": str(folder / "data"),
        "MANIFEST_SERVICE_CONF_DIR": str(folder / "etc"),
        "GLANCE_API_CONF": str(folder / "glance-api.conf"),
    }
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().replace(str(folder), "").splitlines()


@pytest.mark.parametrize(
    ("database", "driver"), [("mysql+pymysql", "mysql+pymysql"), ("postgresql+psycopg2", "postgresql+psycopg")]
)
def test_it_is_configured_so_that_it_runs(devstack: Path, database: str, driver: str) -> None:
    told = run(devstack, "stack post-config", database=database)

    conf = config.load([str(devstack / "etc" / "manifest-service.conf")])
    assert conf.database.connection.startswith(f"{driver}://root:secret@127.0.0.1/manifest_service")
    assert conf.api.listen == "127.0.0.1:9494"
    assert conf.attestations.signing_key == str(devstack / "etc" / "signing-key.pem")
    assert (devstack / "etc" / "manifest-service.conf").stat().st_mode & 0o077 == 0
    assert "driver = messagingv2" in (devstack / "glance-api.conf").read_text()
    assert told[1:] == [
        "recreate_database manifest_service",
        "manifest-service db upgrade --config-file /etc/manifest-service.conf",
        "manifest-service keys generate /etc/signing-key.pem",
        "create_service_user manifest-service admin",
    ]


def test_it_is_installed_started_and_stopped(devstack: Path) -> None:
    told = run(devstack, "stack install", "stack extra", "unstack", "clean")

    assert told[0] == "enable_service manifest-listener manifest-worker manifest-api"
    assert told[1].startswith("python3 -m venv ")
    assert told[2].startswith("pip install -c /manifest-service/constraints.txt")
    started = [line for line in told if line.startswith("run_process")]
    assert [line.split()[1] for line in started] == ["manifest-listener", "manifest-worker", "manifest-api"]
    assert "worker --config-file /glance-api.conf --config-file /etc/manifest-service.conf" in started[1]
    assert sum(line.startswith("stop_process") for line in told) == 3
    assert not (devstack / "data" / "manifest-service-venv").exists()


def test_its_scripts_are_sound() -> None:
    subprocess.run(["bash", "-n", DEVSTACK / "plugin.sh"], check=True)
