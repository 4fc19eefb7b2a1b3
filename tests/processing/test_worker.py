"""A worker over a real queue and real files: what comes of each kind of image, and of each kind of trouble."""

import hashlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from manifest_service.attestations import envelope
from manifest_service.attestations.statement import read_payload
from manifest_service.digests import engine
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.manifests import schema, walking
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.work_models import QueueEntry
from manifest_service.processing import computation, lease
from manifest_service.processing.computation import ComputationSettings
from manifest_service.processing.worker import Worker, WorkerSettings
from tests import qemu
from tests.builders import IMAGE_ID, claim, current, history, new_key, observation, observe
from tests.servers.postgresql import PostgreSQL
from tests.stores import FolderStore
from tests.waiting import eventually

SETTINGS = WorkerSettings(
    poll_interval=0.01,
    lease=30.0,
    max_attempts=2,
    retry_delay=0.0,
    computation=ComputationSettings(
        algorithms=["sha256"], limits=DEFAULT_LIMITS, time_limit=60.0, scratch_folder=tempfile.gettempdir()
    ),
)


@pytest.fixture
def local(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    return database


def worker(database: Database, folder: Path, settings: WorkerSettings = SETTINGS) -> Worker:
    return Worker(database, FolderStore(folder), settings, "0.1.0")


def put(database: Database, path: Path, **changes: object) -> None:
    """Store a file as the image's source and announce it as Glance would."""
    path.rename(path.parent / IMAGE_ID)
    source = path.parent / IMAGE_ID
    described = {
        "size": source.stat().st_size,
        "checksums": {"md5": hashlib.md5(source.read_bytes()).hexdigest()},
    } | changes
    observe(database, observation(**described))


def outcome(database: Database) -> ManifestRecord:
    record = current(database)
    assert record is not None
    return record


@pytest.fixture
def qcow2(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    qemu.create(path, 3 << 20)
    qemu.io(path, ["write -P 67 1M 64k"])
    return path


def test_an_image_becomes_ready(database: Database, tmp_path: Path, qcow2: Path) -> None:
    expected = qemu.sha256_of_disk(qcow2)
    put(database, qcow2)

    assert worker(database, tmp_path).work_once()

    record = outcome(database)
    assert (record.status, record.virtual_size, record.digests) == ("ready", 3 << 20, {"sha256": expected})
    assert record.computed_by == "manifest-service 0.1.0"
    assert not worker(database, tmp_path).work_once()


def test_a_worker_with_a_key_signs_what_it_has_found(database: Database, tmp_path: Path, qcow2: Path) -> None:
    expected, key = qemu.sha256_of_disk(qcow2), new_key()
    put(database, qcow2)

    Worker(database, FolderStore(tmp_path), SETTINGS, "0.1.0", signer=key).work_once()

    record = outcome(database)
    assert record.status == "ready"
    assert record.statement is not None
    signed = envelope.parse(record.statement)
    assert envelope.verify(signed, [key.public]) is key.public
    stated = read_payload(signed.payload)
    assert (stated.digests, stated.virtual_size) == ({"sha256": expected}, 3 << 20)
    assert (stated.computed_at, stated.computed_by) == (record.computed_at, "manifest-service 0.1.0")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"checksums": {"md5": "0" * 32}}, "failed", "source-mismatch"),
        ({"size": 12}, "failed", "source-mismatch"),
        ({"disk_format": "raw"}, "refused", "format-mismatch"),
        ({"disk_format": "vdi"}, "refused", "format-mismatch"),
        ({"disk_format": "ploop"}, "refused", "unsupported-format"),
        ({"disk_format": None}, "refused", "unsupported-format"),
        ({"container_format": "ovf"}, "refused", "unsupported-container"),
        ({"container_format": None}, "refused", "unsupported-container"),
    ],
)
def test_an_image_that_gets_no_manifest_says_why(
    local: Database, tmp_path: Path, qcow2: Path, changes: dict[str, object], status: str, code: str
) -> None:
    put(local, qcow2, **changes)

    worker(local, tmp_path).work_once()

    assert (outcome(local).status, outcome(local).code) == (status, code)


def test_damage_in_the_store_is_a_mismatch_and_not_the_uploader_s_fault(
    local: Database, tmp_path: Path, qcow2: Path
) -> None:
    put(local, qcow2)
    with (tmp_path / IMAGE_ID).open("r+b") as file:
        file.seek(40)  # l1_table_offset
        file.write(b"\x00" * 6 + b"\x02\x01")

    worker(local, tmp_path).work_once()

    assert (outcome(local).status, outcome(local).code) == ("failed", "source-mismatch")


def test_checksums_of_any_of_hashlib_s_algorithms_are_verified_and_unknown_ones_passed_over(
    local: Database, tmp_path: Path, qcow2: Path
) -> None:
    value = hashlib.sha384(qcow2.read_bytes()).hexdigest()
    put(local, qcow2, checksums={"sha384": value, "whirlpool9": "00", "sm3": "00", "shake_128": "00"})

    worker(local, tmp_path).work_once()

    assert outcome(local).status == "ready"
    assert outcome(local).source_checksums == {"sha384": value}
    assert outcome(local).warnings == (
        "Not compared with what Glance recorded, for want of the algorithm: shake_128, sm3, whirlpool9.",
    )


def test_a_wrong_hash_of_any_algorithm_that_we_have_is_a_mismatch(local: Database, tmp_path: Path, qcow2: Path) -> None:
    put(local, qcow2, checksums={"blake3": "00" * 32})

    worker(local, tmp_path).work_once()

    assert (outcome(local).status, outcome(local).code) == ("failed", "source-mismatch")


def test_sparse_digests_and_the_block_map_are_kept_beside_the_flat_ones(
    local: Database, tmp_path: Path, qcow2: Path
) -> None:
    put(local, qcow2)
    settings = replace(SETTINGS.computation, algorithms=["sha256", "fsverity-sha256"], block_map_ranges=1000)

    worker(local, tmp_path, replace(SETTINGS, computation=settings)).work_once()

    assert set(outcome(local).digests) == {"sha256", "fsverity-sha256"}
    assert outcome(local).has_block_map
    document = walking.read_block_map(local, outcome(local))
    assert document is not None
    assert f"<ImageSize> {outcome(local).virtual_size} </ImageSize>" in document


def test_an_image_that_qemu_img_reads_for_us_is_computed_through_scratch(
    local: Database, tmp_path: Path, qemu_img: Path
) -> None:
    (tmp_path / "raw").write_bytes(b"data" * 50_000)
    qemu.img("convert", "-f", "raw", "-O", "vdi", tmp_path / "raw", tmp_path / "image.vdi")
    expected = qemu.sha256_of_disk(tmp_path / "image.vdi", "vdi")
    put(local, tmp_path / "image.vdi", disk_format="vdi")

    worker(local, tmp_path).work_once()

    assert (outcome(local).status, outcome(local).disk_format) == ("ready", "vdi")
    assert outcome(local).digests == {"sha256": expected}
    assert set(outcome(local).source_checksums) == {"md5"}


def test_flat_digests_of_a_disk_above_the_limit_are_left_out_and_the_manifest_says_so(
    local: Database, tmp_path: Path, qcow2: Path
) -> None:
    put(local, qcow2)
    settings = replace(SETTINGS.computation, algorithms=["sha256", "fsverity-sha256", "md5"], flat_virtual_size=1000)

    worker(local, tmp_path, replace(SETTINGS, computation=settings)).work_once()

    assert set(outcome(local).digests) == {"fsverity-sha256"}
    assert outcome(local).warnings == (
        "Not computed, since the disk has more than 1000 bytes ([digests] flat_virtual_size): sha256, md5.",
    )


def test_an_image_that_is_not_there_yet_is_tried_again_and_fails_in_the_end(local: Database, tmp_path: Path) -> None:
    observe(local, observation())

    assert worker(local, tmp_path).work_once()
    assert (outcome(local).status, outcome(local).code) == ("pending", "source-not-found")
    assert worker(local, tmp_path).work_once()

    assert (outcome(local).status, outcome(local).code) == ("failed", "source-not-found")
    assert history(local).count("computation-retried") == 1


def test_a_computation_that_takes_too_long_ends(local: Database, tmp_path: Path, qcow2: Path) -> None:
    put(local, qcow2)
    hasty = replace(SETTINGS, max_attempts=1, computation=replace(SETTINGS.computation, time_limit=-1.0))

    worker(local, tmp_path, hasty).work_once()

    assert (outcome(local).status, outcome(local).code) == ("failed", "time-limit")


def test_a_defect_is_told_as_one_and_does_not_end_the_worker(
    local: Database, tmp_path: Path, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, qcow2)
    monkeypatch.setattr(computation, "compute", lambda *_, **__: 1 / 0)

    worker(local, tmp_path, replace(SETTINGS, max_attempts=1)).work_once()

    assert (outcome(local).status, outcome(local).code) == ("failed", "internal-error")


def _pausing(at: threading.Event, go: threading.Event) -> Callable[..., engine.DiskDigests]:
    """The engine, with a stop on the way that a test can do something in."""

    def compute(*arguments: object, **options: object) -> engine.DiskDigests:
        at.set()
        assert go.wait(30)
        return engine.compute(*arguments, **options)  # type: ignore[arg-type]

    return compute


def test_a_stop_gives_the_image_back(
    local: Database, tmp_path: Path, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, qcow2)
    at, go = threading.Event(), threading.Event()
    monkeypatch.setattr(computation, "compute", _pausing(at, go))
    stopped = worker(local, tmp_path)
    thread = threading.Thread(target=stopped.run)
    thread.start()
    assert at.wait(30)

    stopped.stop()
    go.set()
    thread.join(30)

    assert outcome(local).status == "pending"
    task = claim(local)
    assert task is not None
    assert task.attempt == 1


def test_a_stop_of_a_worker_that_has_lost_its_image_is_no_defect(
    local: Database,
    tmp_path: Path,
    qcow2: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(local, qcow2)
    at, go = threading.Event(), threading.Event()
    monkeypatch.setattr(computation, "compute", _pausing(at, go))
    stopped = worker(local, tmp_path)
    thread = threading.Thread(target=stopped.run)
    thread.start()
    assert at.wait(30)

    observe(local, observation(status="deleted", deleted=True))
    stopped.stop()
    go.set()
    thread.join(30)

    assert outcome(local).status == "deleted"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_deletion_ends_the_computation(
    local: Database, tmp_path: Path, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, qcow2)
    at, go = threading.Event(), threading.Event()
    monkeypatch.setattr(computation, "compute", _pausing(at, go))
    thread = threading.Thread(target=worker(local, tmp_path).work_once)
    thread.start()
    assert at.wait(30)
    observe(local, observation(status="deleted", deleted=True))
    go.set()
    thread.join(30)

    assert outcome(local).status == "deleted"
    assert outcome(local).digests == {}
    assert "ready" not in history(local)


@pytest.mark.servers
def test_a_result_waits_for_a_database_that_is_away(
    postgresql: PostgreSQL, tmp_path: Path, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    put(database, qcow2)
    at, go = threading.Event(), threading.Event()
    monkeypatch.setattr(computation, "compute", _pausing(at, go))
    busy = worker(database, tmp_path, replace(SETTINGS, poll_interval=0.5))
    thread = threading.Thread(target=busy.run)
    thread.start()
    assert at.wait(30)

    postgresql.kill()
    go.set()
    postgresql.start()

    eventually(lambda: outcome(database).status == "ready")
    busy.stop()
    thread.join(30)
    assert history(database).count("computation-started") == 1
    database.close()
    postgresql.drop(url)


def _held_until(database: Database) -> datetime:
    return database.transaction(lambda session: session.scalars(select(QueueEntry.due_at)).one())


@pytest.mark.slow
def test_a_lease_is_renewed_while_an_image_takes_its_time(
    local: Database, tmp_path: Path, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, qcow2)
    at, go = threading.Event(), threading.Event()
    monkeypatch.setattr(computation, "compute", _pausing(at, go))
    monkeypatch.setattr(lease, "PROGRESS_INTERVAL", 0.05)
    thread = threading.Thread(target=worker(local, tmp_path).work_once)
    thread.start()
    assert at.wait(30)
    held_until = _held_until(local)
    eventually(lambda: _held_until(local) > held_until)
    assert claim(local, "another", timedelta(seconds=1)) is None
    go.set()
    thread.join(30)

    assert outcome(local).status == "ready"
