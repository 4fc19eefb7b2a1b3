"""Worker and listener as their operator has them: several processes that are killed, ended and reloaded."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, database_now
from manifest_service.manifests.processes import ProcessRecord, list_processes
from tests import qemu
from tests.builders import IMAGE_ID, current, history, observation, observe
from tests.servers.process import alive, descendants
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

GIB = 1 << 30
pytestmark = pytest.mark.slow


class Site:
    """A folder with a database and a store, and workers over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images").mkdir()
        self.database = Database(f"sqlite:///{folder}/db.sqlite")
        schema.upgrade(self.database)

    def settings(self, timeout: int = 60, processes: int = 1) -> Settings:
        return {
            "DEFAULT": {"state_path": self.folder, "graceful_shutdown_timeout": timeout},
            "database": {"connection": f"sqlite:///{self.folder}/db.sqlite"},
            "glance_store": {"stores": "file", "filesystem_store_datadir": self.folder / "images"},
            "digests": {"algorithms": "sha256"},
            "worker": {"processes": processes, "poll_interval": 0.05},
        }

    def put(self, virtual_size: int) -> None:
        """Upload an image of zeros: it takes a worker a second for each GiB and a half."""
        path = self.folder / "images" / IMAGE_ID
        qemu.create(path, virtual_size)
        checksums = {"md5": hashlib.md5(path.read_bytes()).hexdigest()}
        observe(self.database, observation(size=path.stat().st_size, checksums=checksums))

    @property
    def status(self) -> str | None:
        record = current(self.database)
        return None if record is None else record.status

    def processes(self) -> list[ProcessRecord]:
        return self.database.transaction(lambda session: list_processes(session, database_now(session)))

    def wait_until_under_way(self) -> None:
        """Wait until its computation has begun; a small image may have ended, too, before anybody looks."""
        eventually(lambda: "computation-started" in history(self.database))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def start_worker(site: Site) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers that end with the test."""
    running: list[WorkerProcess] = []

    def start(**settings: int) -> WorkerProcess:
        worker = WorkerProcess(site.folder / f"worker-{len(running)}", site.settings(**settings))
        running.append(worker)
        worker.start()
        return worker

    yield start
    for worker in running:
        worker.kill()


def waiting(worker: WorkerProcess) -> set[int]:
    """The processes that have said that they wait for images and are alive."""
    return {int(pid) for pid in re.findall(r"worker \S+:(\d+):0 waits", worker.log_text()) if alive(int(pid))}


def reconfigure(process: ServiceProcess, settings: Settings) -> None:
    listen = {"api": {"listen": f"127.0.0.1:{process.port}", **settings.get("api", {})}}
    write_config(process.config_files[-1], {**settings, **listen})
    os.kill(process.pid, signal.SIGHUP)


def test_a_process_that_dies_is_started_anew(start_worker: Callable[..., WorkerProcess]) -> None:
    worker = start_worker(processes=2)
    eventually(lambda: len(waiting(worker)) == 2)
    killed, other = waiting(worker)

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: len(waiting(worker)) == 2 and killed not in waiting(worker))
    assert other in waiting(worker)


def test_an_image_of_a_process_that_is_killed_goes_to_another(
    site: Site, start_worker: Callable[..., WorkerProcess]
) -> None:
    settings = site.settings(processes=2)
    # A disk that is busy may hold up renewals for seconds.
    hasty = {**settings["worker"], "lease": 5, "max_attempts": 100}
    worker = WorkerProcess(site.folder / "worker", {**settings, "worker": hasty})
    site.put(8 * GIB)
    with worker:
        site.wait_until_under_way()
        begins = re.compile(r"(\d+) INFO manifest_service.processing.worker .* attempt 1 begins")
        eventually(lambda: begins.search(worker.log_text()))
        (started,) = begins.findall(worker.log_text())

        os.kill(int(started), signal.SIGKILL)

        eventually(lambda: site.status == "ready")


def test_an_image_that_is_soon_done_is_finished_first(site: Site, start_worker: Callable[..., WorkerProcess]) -> None:
    site.put(4 * GIB)
    worker = start_worker()
    site.wait_until_under_way()

    os.kill(worker.pid, signal.SIGTERM)

    eventually(lambda: not worker.running)
    assert site.status == "ready"
    assert history(site.database).count("computation-started") == 1


def test_each_process_is_listed_until_it_has_ended(site: Site, start_worker: Callable[..., WorkerProcess]) -> None:
    worker = start_worker(processes=2, timeout=20)
    eventually(lambda: len(site.processes()) == 2)
    assert {process.pid for process in site.processes()} == set(descendants(worker.pid))
    site.put(200 * GIB)
    site.wait_until_under_way()

    os.kill(worker.pid, signal.SIGTERM)

    eventually(lambda: len(site.processes()) == 1)
    assert site.status == "computing"
    eventually(lambda: not worker.running)
    assert (site.status, site.processes()) == ("pending", [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_image_that_takes_too_long_goes_back_and_another_worker_has_it_at_once(
    site: Site, start_worker: Callable[..., WorkerProcess], number: signal.Signals
) -> None:
    site.put(200 * GIB)
    worker = start_worker(timeout=1)
    site.wait_until_under_way()

    os.kill(worker.pid, number)

    eventually(lambda: not worker.running)
    assert site.status == "pending"
    assert history(site.database)[-1] == "computation-returned"
    start_worker(timeout=0)
    site.wait_until_under_way()


def test_processes_end_in_order_when_their_supervisor_is_killed(
    site: Site, start_worker: Callable[..., WorkerProcess]
) -> None:
    site.put(200 * GIB)
    worker = start_worker(timeout=0)
    site.wait_until_under_way()
    children = descendants(worker.pid)

    os.kill(worker.pid, signal.SIGKILL)

    eventually(lambda: not any(map(alive, children)))
    assert site.status == "pending"


def test_a_new_log_level_takes_effect_without_a_new_process(
    site: Site, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    before = waiting(worker)
    settings = site.settings()

    reconfigure(worker, {**settings, "DEFAULT": {**settings["DEFAULT"], "debug": "true"}})

    eventually(lambda: "Option DEFAULT.debug changed" in worker.log_text())
    assert waiting(worker) == before


def test_another_configuration_makes_other_processes_which_finish_what_is_under_way(
    site: Site, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    (before,) = waiting(worker)
    site.put(4 * GIB)
    site.wait_until_under_way()

    reconfigure(worker, site.settings(processes=3))

    eventually(lambda: len(waiting(worker)) == 3 and before not in waiting(worker))
    eventually(lambda: site.status == "ready")
    assert history(site.database).count("computation-started") == 1


@pytest.mark.parametrize(
    ("section", "option", "value", "says"),
    [
        ("worker", "processes", "many", "bad-configuration"),
        ("digests", "algorithms", "sha257", "sha257"),
        ("database", "connection", "postgresql+psycopg://nobody@127.0.0.1:1/none", "database-away"),
    ],
)
def test_a_configuration_that_cannot_be_used_changes_nothing(
    site: Site, start_worker: Callable[..., WorkerProcess], section: str, option: str, value: str, says: str
) -> None:
    worker = start_worker()
    before = waiting(worker)
    settings = site.settings()

    reconfigure(worker, {**settings, section: {**settings[section], option: value}})

    eventually(lambda: "not reloaded, and the old one goes on" in worker.log_text())
    assert says in worker.log_text()
    assert waiting(worker) == before
    site.put(GIB)
    eventually(lambda: site.status == "ready")


def test_the_command_line_says_how_many_processes(site: Site, tmp_path: Path) -> None:
    class Two(WorkerProcess):
        def command(self) -> Sequence[str | Path]:
            return [*super().command(), "--processes", "2"]

    with Two(tmp_path / "two", site.settings()) as worker:
        eventually(lambda: len(waiting(worker)) == 2)


@pytest.mark.parametrize("command", ["worker", "listener"])
def test_what_cannot_be_used_is_said_before_anything_starts(site: Site, tmp_path: Path, command: str) -> None:
    file = write_config(tmp_path / "bad.conf", {"database": {"connection": f"sqlite:///{tmp_path}/empty.sqlite"}})

    done = subprocess.run([EXECUTABLE, command, "--config-file", file], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("manifest-service: schema-not-current: ")


@pytest.mark.servers
def test_listeners_are_several_too(site: Site, tmp_path: Path, transport_url: str) -> None:
    settings = site.settings()
    default = {**settings["DEFAULT"], "transport_url": transport_url}
    with ListenerProcess(tmp_path / "l", {**settings, "DEFAULT": default, "listener": {"processes": 2}}) as listener:
        eventually(lambda: listener.log_text().count("listening for notifications") == 2)
        killed = descendants(listener.pid)[0]

        os.kill(killed, signal.SIGKILL)

        eventually(lambda: listener.log_text().count("listening for notifications") == 3)


class Notifying:
    """What systemd gives a service: a socket to say on that it is ready."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(60)

    def is_told(self) -> bool:
        return self._socket.recv(100) == b"READY=1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.mark.parametrize("kind", [WorkerProcess, ApiProcess])
def test_systemd_is_told_when_it_is_ready(site: Site, tmp_path: Path, kind: type[ServiceProcess]) -> None:
    with Notifying(tmp_path) as systemd:

        class Notified(kind):  # type: ignore[valid-type, misc]
            def environment(self) -> Mapping[str, str]:
                return {**super().environment(), "NOTIFY_SOCKET": str(systemd.path)}

        with Notified(tmp_path / "process", site.settings()):
            assert systemd.is_told()


def test_the_api_takes_over_log_levels_and_keeps_the_rest(site: Site, tmp_path: Path) -> None:
    settings = site.settings()
    with ApiProcess(tmp_path / "api", settings) as api:
        before = api.pid
        reconfigure(api, {**settings, "DEFAULT": {**settings["DEFAULT"], "debug": "true"}})
        eventually(lambda: "log levels are reloaded" in api.log_text())

        reconfigure(api, {**settings, "api": {"threads": "none"}})
        eventually(lambda: "not reloaded, and the old one goes on" in api.log_text())

        api.ask()
        assert api.pid == before
