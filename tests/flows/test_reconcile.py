"""Reconciling with a real Glance: what nobody told of comes right by itself."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from manifest_service.processing import duties
from tests.builders import queued
from tests.flows.cloud import Cloud, cloud_of
from tests.servers.glance import Glance
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import descendants
from tests.servers.service import EXECUTABLE, ListenerProcess, WorkerProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

_FIGURES = re.compile(r"reconciled with .*: \d+ images, (\d+) new, \d+ changed, (\d+) deleted")
BEFORE, MISSED, DELETED = 24, 200, 50
DELETED_BEFORE = 10


@pytest.mark.timeout(600)
def test_what_was_missed_while_the_listener_was_down_comes_right_by_itself(
    glance_factory: Callable[..., Glance], postgresql: PostgreSQL, tmp_path: Path
) -> None:
    glance, url = glance_factory(), postgresql.create_database()
    with cloud_of(glance, url, tmp_path, {"reconcile": {"interval": "1"}}) as cloud:
        before = cloud.upload_many(BEFORE)
        _backfill(cloud)
        missed = cloud.upload_many(MISSED)
        gone, gone_unseen = before[:DELETED_BEFORE], missed[: DELETED - DELETED_BEFORE]
        for image_id in (*gone, *gone_unseen):
            glance.client.delete(image_id)
        there = [*before[len(gone) :], *missed[len(gone_unseen) :]]
        workers = [cloud.worker("one"), cloud.worker("other")]
        listener = ListenerProcess(tmp_path / "listener", cloud.settings, [glance.config_file])

        with listener, workers[0], workers[1]:
            eventually(lambda: cloud.statuses(gone) == {"deleted"}, timeout=120)
            eventually(lambda: cloud.statuses(there) == {"ready"}, timeout=120)

            assert cloud.statuses(gone_unseen) == {None}  # nobody ever knew of them
            for image_id in there:
                assert cloud.history(image_id) == ["uploaded", "computation-started", "ready"]
            for image_id in gone:
                assert cloud.history(image_id)[-1] == "deleted"
            _each_was_taken_in_by_one(workers)
            _the_leader_dies_and_the_other_goes_on(cloud, workers)
    postgresql.drop(url)


def _backfill(cloud: Cloud) -> None:
    """A dry run takes nothing in; a walk that is stopped says so, and goes on."""
    assert f"new:       {BEFORE}  (would be queued)" in cloud.call("backfill", "--dry-run").stdout
    assert "seen:      0\n" in cloud.call("backfill", "--dry-run", "--since", "2100-01-01").stdout
    options = [part for file in cloud.config_files for part in ("--config-file", file)]
    slow = subprocess.Popen([EXECUTABLE, "backfill", "--rate", "0.1", *options], stderr=subprocess.PIPE, text=True)
    eventually(lambda: queued(cloud.database) == BEFORE)
    slow.send_signal(signal.SIGINT)
    assert "run it again to go on" in slow.communicate(timeout=30)[1]
    assert slow.returncode == 130
    rest = cloud.call("backfill", "--rate", "0")
    assert "went on where the last walk" in rest.stderr
    assert "new:       0  (queued)" in rest.stdout


def _each_was_taken_in_by_one(workers: list[WorkerProcess]) -> None:
    """Both have the duty, and one does it at a time: had both found the same, figures would add up to more."""
    # A walk says so at its end.
    eventually(lambda: _taken_in(workers) == (MISSED - DELETED + DELETED_BEFORE, DELETED_BEFORE))


def _taken_in(workers: list[WorkerProcess]) -> tuple[int, ...]:
    """Images that were new to their walks, and deleted ones."""
    runs = [run for worker in workers for run in _FIGURES.findall(worker.log_text())]
    return tuple(sum(int(run[place]) for run in runs) for place in (0, 1))


def _the_leader_dies_and_the_other_goes_on(cloud: Cloud, workers: list[WorkerProcess]) -> None:
    holder = next(duty.holder for duty in cloud.database.transaction(duties.list_duties) if duty.name == "reconcile")
    assert holder is not None
    leader = next(worker for worker in workers if int(holder.rpartition(":")[2]) in descendants(worker.pid))
    leader.kill()

    cloud.glance.client.delete(last := cloud.upload())
    missed_by_the_dead = cloud.upload()

    # The lease of the dead one has to run out first.
    eventually(lambda: cloud.status(missed_by_the_dead) == "ready", timeout=120)
    eventually(lambda: cloud.status(last) in (None, "deleted"))
