"""`manifest-service import`: another site answers what this one found out, and believes what was signed."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from manifest_service.attestations.keys import PrivateKey, generate_private_key
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Event, Image
from tests.api.client import Client
from tests.builders import SHA256, claimed, computed, finish, observation, observe
from tests.commands.peak_memory import peak_of
from tests.commands.test_export import config_for, run
from tests.manifests.filling import delete, fill, image_id_of, sha256_of
from tests.servers.postgresql import PostgreSQL
from tests.servers.service import EXECUTABLE
from tests.waiting import eventually

pytestmark = pytest.mark.slow

COUNT = 450
"""Manifests: more than one part of an import."""


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    """The first site's key; its public half is in `key.pem`."""
    private = generate_private_key(tmp_path / "private.pem")
    (tmp_path / "key.pem").write_text(private.public.pem)
    return private


@pytest.fixture
def bundle(local: Database, key: PrivateKey, tmp_path: Path) -> Path:
    """What a site with signed manifests has exported; one of its images was deleted."""
    fill(local, 0, COUNT, key)
    delete(local, 7)
    path = tmp_path / "manifests.jsonl"
    assert run("export", "--config-file", config_for(tmp_path, local), "-o", path).returncode == 0
    return path


def take_in(bundle: Path, database: Database, *options: object, trusted: bool = True) -> tuple[int, dict[str, int]]:
    """Import into a site; gives the exit code, and how often came what."""
    folder = bundle.parent / "other"
    folder.mkdir(exist_ok=True)
    keys = ["--trusted-key", bundle.with_name("key.pem")] if trusted else []
    done = run("import", bundle, "--json", "--config-file", config_for(folder, database), *keys, *options)
    assert done.stdout, done.stderr
    return done.returncode, {what: count for what, count in json.loads(done.stdout).items() if count}


def count_of(database: Database, table: type[Any]) -> int:
    return database.transaction(lambda session: session.scalar(select(func.count()).select_from(table))) or 0


def test_another_site_answers_the_same(
    bundle: Path, local_api: Client, database: Database, serve_api: Callable[..., Client], key: PrivateKey
) -> None:
    assert take_in(bundle, database) == (0, {"new": COUNT})

    other = serve_api(database)
    for number in (0, COUNT - 1):
        path = f"/v1/manifests/{image_id_of(number)}"
        ours, theirs = local_api.get(path).json(), other.get(path).json()
        assert theirs["digests"] == {"sha256": sha256_of(number)}
        assert {**theirs, "name": None, "created_at": None} == {**ours, "name": None, "created_at": None}
        assert other.get(f"{path}/statement").content == local_api.get(f"{path}/statement").content
        assert [event["kind"] for event in other.get(f"{path}/history").json()["events"]] == ["imported"]
    assert other.get(f"/v1/manifests/{image_id_of(7)}").status_code == 410
    body = {"digests": [f"sha256:{sha256_of(9)}"], "statements": True}
    (found,) = other.post("/v1/lookups", json=body).json()["manifests"]
    assert found["statement"]["signatures"][0]["keyid"] == key.public.key_id
    assert other.get(f"/v1/keys/{key.public.key_id}").json()["public_key"] == key.public.pem


def test_twice_changes_nothing(bundle: Path, database: Database) -> None:
    take_in(bundle, database)
    events = count_of(database, Event)

    assert take_in(bundle, database) == (0, {"known": COUNT})
    assert count_of(database, Event) == events


def test_a_dry_run_only_tells(bundle: Path, database: Database) -> None:
    assert take_in(bundle, database, "--dry-run") == (0, {"new": COUNT})
    assert count_of(database, Image) == 0


def test_one_that_was_interrupted_is_run_again(bundle: Path, database: Database) -> None:
    lines = bundle.read_bytes().splitlines(keepends=True)
    command: list[str | Path] = [EXECUTABLE, "import", "-", "--trusted-key", bundle.with_name("key.pem")]
    command += ["--config-file", config_for(bundle.parent, database)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"".join(lines[:300]))
    process.stdin.flush()
    eventually(lambda: count_of(database, Image) == 200)

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)

    assert process.returncode == 1
    assert b"Traceback" not in told
    assert count_of(database, Image) == 200
    assert take_in(bundle, database) == (0, {"known": 200, "new": COUNT - 200})


def test_an_image_of_our_own_is_never_overwritten(bundle: Path, database: Database) -> None:
    for number, sha256 in ((1, sha256_of(1)), (2, SHA256)):
        observe(database, observation(image_id=image_id_of(number)))
        finish(database, claimed(database), computed(digests={"sha256": sha256}, virtual_size=number * 512))

    code, what = take_in(bundle, database)

    assert (code, what) == (4, {"new": COUNT - 2, "own": 1, "conflict": 1})
    assert take_in(bundle, database) == (4, {"known": COUNT - 2, "own": 1, "conflict": 1})


def test_what_was_edited_on_its_way_is_not_believed(bundle: Path, database: Database, tmp_path: Path) -> None:
    documents = [json.loads(line) for line in bundle.read_text().splitlines()[:8]]
    documents[0]["digests"]["sha256"] = "00" * 32
    documents[1]["statement"], documents[2]["statement"] = documents[2]["statement"], documents[1]["statement"]
    documents[3]["statement"] = None
    documents[4]["statement"]["payload"] = documents[5]["statement"]["payload"]
    lines = [*map(json.dumps, documents), "{", "null", "x" * 1000, json.dumps(documents[5]), json.dumps(documents[6])]
    bundle.write_text("\n".join(lines))

    code, what = take_in(bundle, database)

    assert (code, what) == (
        4,
        {"new": 4, "known": 2, "contradictory": 1, "unverified": 3, "unsigned": 1, "bad": 3},
    )
    assert database.transaction(lambda session: set(session.scalars(select(Image.image_id)))) == {
        image_id_of(number) for number in (0, 5, 6, 7)
    }


def test_without_a_trusted_key_nothing_is_taken_unless_that_is_said(bundle: Path, database: Database) -> None:
    config = config_for(bundle.parent, database)
    refused = run("import", bundle, "--config-file", config)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no-trusted-key" in refused.stderr

    bundle.with_name("other.pem").write_text(generate_private_key(bundle.with_name("other-private.pem")).public.pem)
    code, what = take_in(bundle, database, "--trusted-key", bundle.with_name("other.pem"), trusted=False)
    assert (code, what) == (5, {"unverified": COUNT})

    assert take_in(bundle, database, "--unsigned", trusted=False) == (0, {"new": COUNT})
    details = database.transaction(
        lambda session: list(session.scalars(select(Event.detail).where(Event.kind == "imported")))
    )
    assert {detail["signed"] for detail in details} == {False}
    assert take_in(bundle, database) == (0, {"updated": COUNT})


@pytest.mark.parametrize("file", ["nowhere.jsonl", "."])
def test_a_file_that_cannot_be_read_is_usage(tmp_path: Path, local: Database, file: str) -> None:
    done = run("import", "--unsigned", tmp_path / file, "--config-file", config_for(tmp_path, local))

    assert (done.returncode, done.stdout) == (2, "")
    assert "bad-bundle" in done.stderr


def test_hostile_names_stay_off_the_terminal(local: Database, tmp_path: Path) -> None:
    bundle = tmp_path / "hostile.jsonl"
    bundle.write_text(json.dumps({"image_id": "\x1b[31m", "status": "ready"}) + "\n" + "\x1b[31m\n")

    done = run("import", "--unsigned", bundle, "--config-file", config_for(tmp_path, local))

    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert "imported: 2 bad" in done.stdout


def test_a_database_that_goes_away_is_told(bundle: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    command: list[str | Path] = [EXECUTABLE, "import", "-", "--unsigned"]
    process = subprocess.Popen(
        [*command, "--config-file", config_for(bundle.parent, database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    lines = bundle.read_bytes().splitlines(keepends=True)
    try:
        process.stdin.write(b"".join(lines[:300]))
        process.stdin.flush()
        eventually(lambda: count_of(database, Image) == 200)
        postgresql.kill()
        _, told = process.communicate(b"".join(lines[300:]), timeout=60)
        assert process.returncode == 1
        assert b"database-away" in told
        assert b"Traceback" not in told
    finally:
        database.close()
        postgresql.start()
        postgresql.drop(url)


def test_memory_stays_flat(local: Database, key: PrivateKey, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path}/other.sqlite")
    schema.upgrade(other)
    fill(local, 0, 12000)
    bundle = tmp_path / "manifests.jsonl"
    assert run("export", "--config-file", config_for(tmp_path, local), "-o", bundle).returncode == 0
    config = config_for(tmp_path, other)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(bundle.read_text().splitlines(keepends=True)[:1200]))

    assert peak_of("import", "--unsigned", bundle, "--config-file", config) < (
        peak_of("import", "--unsigned", few, "--config-file", config) + (8 << 20)
    )
    other.close()
