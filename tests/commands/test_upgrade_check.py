"""`upgrade-check`: what it says of a site that is as it should be, and of one that is not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from shutil import copyfile

import pytest
from sqlalchemy import text

from manifest_service.attestations.keys import generate_private_key
from manifest_service.manifests.database import Database
from tests.builders import observation, observe
from tests.servers.service import EXECUTABLE, Settings, write_config

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, migrated_file: Path, qemu_img: Path) -> dict[str, dict[str, object]]:
    """A site in which nothing is in the way."""
    copyfile(migrated_file, tmp_path / "db.sqlite")
    generate_private_key(tmp_path / "key.pem")
    return {
        "DEFAULT": {"state_path": tmp_path},
        "database": {"connection": f"sqlite:///{tmp_path}/db.sqlite"},
        "attestations": {"signing_key": tmp_path / "key.pem"},
        "limits": {"scratch_size": 1 << 20},
    }


def check(folder: Path, settings: Settings) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and what each check has found."""
    file = write_config(folder / "checked.conf", settings)
    command: list[str | Path] = [EXECUTABLE, "upgrade-check", "--json", "--config-file", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {each["check"]: (each["result"], each["details"]) for each in found}


def test_nothing_is_in_the_way(tmp_path: Path, settings: Settings) -> None:
    code, found = check(tmp_path, settings)

    assert {result for result, _ in found.values()} == {"Success"}
    assert code == 0


def test_what_should_be_looked_at(tmp_path: Path, settings: dict[str, dict[str, object]]) -> None:
    del settings["attestations"]
    settings["limits"] = {"scratch_size": 1 << 60}
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    observe(database, observation())
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE images SET status = NULL"))
    database.close()

    code, found = check(tmp_path, settings)

    assert {name for name, (result, _) in found.items() if result == "Warning"} == {"data", "signing key", "scratch"}
    assert "manifest-service reconcile" in found["data"][1]
    assert code == 1


def test_what_this_version_would_not_run_with(tmp_path: Path, settings: dict[str, dict[str, object]]) -> None:
    settings["attestations"] = {"signing_key": tmp_path / "none.pem"}
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE scrubs"))
    database.close()

    code, found = check(tmp_path, settings)

    assert {name for name, (result, _) in found.items() if result == "Failure"} == {"tables", "signing key"}
    assert "scrubs.scrubbed_at" in found["tables"][1]
    assert code == 2


def test_a_policy_file_that_the_api_would_not_start_with(
    tmp_path: Path, settings: dict[str, dict[str, object]]
) -> None:
    (tmp_path / "policy.yaml").write_text('"manifests:list": "rule:no-such-rule"\n')
    settings["api"] = {"auth_strategy": "keystone"}
    settings["oslo_policy"] = {"policy_file": tmp_path / "policy.yaml"}

    code, found = check(tmp_path, settings)

    assert {name for name, (result, _) in found.items() if result == "Failure"} == {"policies"}
    assert "[oslo_policy] policy_file" in found["policies"][1]
    assert code == 2


def test_a_database_that_is_empty_or_away(tmp_path: Path, settings: dict[str, dict[str, object]]) -> None:
    settings["database"] = {"connection": f"sqlite:///{tmp_path}/empty.sqlite"}
    assert "run `manifest-service db upgrade`" in check(tmp_path, settings)[1]["schema"][1]

    settings["database"] = {"connection": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    code, found = check(tmp_path, settings)
    assert (code, found["database"][0]) == (2, "Failure")


def test_a_table_for_people(tmp_path: Path, settings: Settings) -> None:
    file = write_config(tmp_path / "checked.conf", settings)

    done = subprocess.run(
        [EXECUTABLE, "upgrade-check", "--config-file", file], capture_output=True, text=True, check=False
    )

    assert "Upgrade check" in done.stdout
    assert done.stdout.count("Success") == 10
