"""`backfill`, `reconcile`, `scrub`: what they say when they cannot."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from manifest_service.manifests.database import Database
from manifest_service.processing import duties
from tests.servers.process import free_port
from tests.servers.service import EXECUTABLE, Settings, write_config

pytestmark = pytest.mark.slow


def call(local: Database, folder: Path, settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = local.url.render_as_string(hide_password=False)
    (folder / "images").mkdir(exist_ok=True)
    store = {"filesystem_store_datadir": str(folder / "images")}
    merged = {
        "DEFAULT": {"state_path": str(folder)},
        "database": {"connection": url},
        "glance_store": store,
        **settings,
    }
    file = write_config(folder / "manifest-service.conf", merged)
    command: list[str | Path] = [EXECUTABLE, *arguments, "--config-file", file]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def nowhere() -> Settings:
    return {"glance": {"auth_type": "admin_token", "endpoint": f"http://127.0.0.1:{free_port()}", "token": "x"}}


@pytest.mark.parametrize("command", ["backfill", "reconcile"])
def test_glance_must_be_configured(local: Database, tmp_path: Path, command: str) -> None:
    done = call(local, tmp_path, {}, command)

    assert (done.returncode, "bad-configuration: Glance cannot be asked" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [["backfill", "--dry-run"], ["reconcile"]])
def test_a_glance_that_is_away_is_told_in_a_sentence(local: Database, tmp_path: Path, arguments: list[str]) -> None:
    done = call(local, tmp_path, nowhere(), *arguments)

    assert done.returncode == 1
    assert "manifest-service: glance-away: " in done.stderr
    assert "OS_TOKEN" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["backfill", "reconcile", "scrub"])
def test_one_is_at_it_at_a_time(local: Database, tmp_path: Path, command: str) -> None:
    hour = timedelta(hours=1)
    assert local.transaction(lambda session: duties.claim(session, command, "another", hour, hour)) is not None

    done = call(local, tmp_path, nowhere(), command)

    assert (done.returncode, "manifest-service: duty-held: " in done.stderr) == (1, True)


def test_scrubbing_needs_no_glance(local: Database, tmp_path: Path) -> None:
    done = call(local, tmp_path, {}, "scrub")

    assert (done.returncode, done.stdout.split()) == (
        0,
        ["images:", "0", "bytes:", "0", "changed:", "0", "unreadable:", "0"],
    )
