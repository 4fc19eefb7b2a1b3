"""`keys …` and `audit` as an operator runs them: in processes of their own, over a database that is there."""

import json
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import delete, update

from manifest_service.attestations import envelope
from manifest_service.attestations.keys import PrivateKey, generate_private_key, load_private_key
from manifest_service.attestations.statement import Basis, read_payload
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Manifest, ManifestStatement
from tests.builders import claimed, computed, current, finish, history, observation, observe
from tests.servers.service import EXECUTABLE, Settings, write_config

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]


def run(*arguments: object) -> Done:
    command = [str(EXECUTABLE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    generate_private_key(path)
    return path


@pytest.fixture
def configured(database: Database, database_url: str, tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Writes a configuration; gives what stands on a command line."""

    def write(key: Path | None) -> tuple[str, Path]:
        attestations = {} if key is None else {"signing_key": key}
        settings: Settings = {"database": {"connection": database_url}, "attestations": attestations}
        return "--config-file", write_config(tmp_path / "manifest-service.conf", settings)

    return write


def publish(database: Database, signer: PrivateKey | None = None, block_map: str | None = None) -> str:
    image_id = str(uuid4())
    observe(database, observation(image_id=image_id))
    finish(database, claimed(database), computed(block_map=block_map), signer)
    return image_id


def test_generate_makes_a_key_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = run("keys", "generate", path)
    shown = run("keys", "show", path)

    key = load_private_key(path)
    assert (made.returncode, shown.returncode) == (0, 0)
    assert made.stdout == shown.stdout == f"key id: {key.public.key_id}\n{key.public.pem}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = run("keys", "generate", path)
    assert (again.returncode, "key-exists" in again.stderr) == (2, True)
    assert load_private_key(path).public.key_id == key.public.key_id
    path.chmod(0o644)
    refused = run("keys", "show", path)
    assert (refused.returncode, "bad-key" in refused.stderr, "chmod 600" in refused.stderr) == (2, True, True)


def test_a_worker_does_not_start_with_a_key_that_others_may_read(key_file: Path, tmp_path: Path) -> None:
    key_file.chmod(0o644)
    url = f"sqlite:///{tmp_path}/manifests.sqlite"
    settings: Settings = {
        "database": {"connection": url},
        "attestations": {"signing_key": key_file},
        "DEFAULT": {"state_path": tmp_path},
    }
    config = write_config(tmp_path / "worker.conf", settings)
    assert run("db", "upgrade", "--config-file", config).returncode == 0

    done = run("worker", "--config-file", config)

    assert (done.returncode, "bad-key" in done.stderr) == (2, True)


def test_manifests_from_before_there_was_a_key_are_signed_once(
    database: Database, configured: Callable[..., tuple[str, Path]], key_file: Path
) -> None:
    images = [publish(database, block_map="<bmap/>") for _ in range(3)]
    assert run("audit", *configured(key_file)).returncode == 5

    first = run("keys", "sign", *configured(key_file))
    again = run("keys", "sign", *configured(key_file))

    assert (first.returncode, "3 statements signed" in first.stdout) == (0, True)
    assert (again.returncode, "0 statements signed" in again.stdout) == (0, True)
    audited = run("audit", *configured(key_file))
    assert (audited.returncode, audited.stdout, "3 manifests: nothing found" in audited.stderr) == (0, "", True)
    for image_id in images:
        record = current(database, image_id)
        assert record is not None
        assert record.statement is not None
        stated = read_payload(envelope.parse(record.statement).payload)
        assert (stated.basis, stated.image_id) == (Basis.RECORD, image_id)
        assert stated.attested_at > stated.computed_at
        assert history(database, image_id)[-1] == "signed"
    listed = run("keys", "list", *configured(key_file)).stdout
    assert listed.startswith(load_private_key(key_file).public.key_id)
    assert listed.endswith("  3  (of this configuration)\n")


def test_a_manifest_that_should_have_a_statement_is_not_taken_at_its_word(
    database: Database, configured: Callable[..., tuple[str, Path]], key_file: Path
) -> None:
    publish(database, load_private_key(key_file))
    image_id = publish(database)

    audited = run("audit", "--json", *configured(key_file))
    signed = run("keys", "sign", *configured(key_file))

    assert audited.returncode == 4
    (finding,) = map(json.loads, audited.stdout.splitlines())
    assert (finding["kind"], finding["image_id"], finding["revision"]) == ("statement-missing", image_id, 1)
    assert (signed.returncode, "0 statements signed" in signed.stdout, "--until" in signed.stderr) == (1, True, True)
    later = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert run("keys", "sign", "--until", later, *configured(key_file)).returncode == 0
    assert run("audit", *configured(key_file)).returncode == 0


def test_a_rotation_takes_another_key_in_the_configuration(
    database: Database, configured: Callable[..., tuple[str, Path]], key_file: Path, tmp_path: Path
) -> None:
    new_file = tmp_path / "new.pem"
    old, new = load_private_key(key_file), generate_private_key(new_file)
    publish(database, old)
    publish(database, new)
    for name, key in (("old.pub.pem", old), ("new.pub.pem", new)):
        (tmp_path / name).write_text(key.public.pem)

    lines = run("keys", "list", *configured(new_file)).stdout.splitlines()

    assert [line.split()[0] for line in lines] == [old.public.key_id, new.public.key_id]
    assert ["configuration" in line for line in lines] == [False, True]
    trusting = ("--trusted-key", tmp_path / "old.pub.pem", "--trusted-key", tmp_path / "new.pub.pem")
    assert run("audit", *configured(new_file)).returncode == 0
    assert run("audit", *trusting, *configured(new_file)).returncode == 0
    only_new = run("audit", *trusting[2:], *configured(new_file))
    assert (only_new.returncode, "1 unknown-key" in only_new.stderr) == (5, True)


def test_an_audit_says_what_was_edited(
    database: Database, configured: Callable[..., tuple[str, Path]], key_file: Path
) -> None:
    key = load_private_key(key_file)
    image_id, other, unsigned = publish(database, key), publish(database, key), publish(database)
    with database.engine.begin() as connection:
        edit = update(Manifest).where(Manifest.image_id == image_id)
        connection.execute(edit.values(virtual_size=1, computed_by="\x1b[31mred"))

    done = run("audit", *configured(key_file))
    as_json = run("audit", "--json", *configured(key_file))

    assert (done.returncode, as_json.returncode) == (4, 4)
    assert f"tampered          {image_id} revision 1: virtual_size should be 25165824 and is 1" in done.stdout
    assert "\x1b" not in done.stdout + as_json.stdout
    assert "3 manifests: 2 tampered, 1 statement-missing" in done.stderr
    findings = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [(each["image_id"], each["kind"], each["field"]) for each in findings] == [
        (image_id, "tampered", "virtual_size"),
        (image_id, "tampered", "computed_by"),
        (unsigned, "statement-missing", None),
    ]
    assert (findings[0]["stated"], findings[0]["found"]) == ("25165824", "1")
    assert other not in done.stdout


def test_without_a_key_there_is_nothing_to_sign_with(configured: Callable[..., tuple[str, Path]]) -> None:
    done = run("keys", "sign", *configured(None))

    assert (done.returncode, "no-key" in done.stderr) == (2, True)
    assert "keys generate" in done.stderr


def test_signing_that_was_interrupted_goes_on(local: Database, tmp_path: Path, key_file: Path) -> None:
    for _ in range(3):
        publish(local)
    config = write_config(
        tmp_path / "local.conf",
        {"database": {"connection": str(local.url)}, "attestations": {"signing_key": key_file}},
    )
    assert run("keys", "sign", "--config-file", config).returncode == 0
    with local.engine.begin() as connection:
        connection.execute(delete(ManifestStatement).where(ManifestStatement.manifest_id > 1))

    done = run("keys", "sign", "--config-file", config)

    assert (done.returncode, "2 statements signed" in done.stdout) == (0, True)
