"""All that the service needs, private, and the service itself: broker, database, stores, and the cast of processes."""

import os
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.faults.cast import Member
from tests.faults.stores import FaultyStores
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import ApiProcess, ListenerProcess, Settings, WorkerProcess

LEASE = 6
"""Seconds of [worker] lease: as long lies idle what a killed worker had begun."""
LOCK_WAIT = 2
"""Seconds after which MariaDB ends a wait for a lock (error 1205)."""
_SCRATCH_SIZE = 64 << 20
_DATABASE_SIZE = 320 << 20
_CLOCK_SOURCE = Path(__file__).with_name("clock.c")


class SmallPostgreSQL(PostgreSQL):
    """One that keeps within a small disk, by a clock that the run can move."""

    def __init__(self, folder: Path, clock: "Clock | None") -> None:
        super().__init__(folder)
        self._clock = clock

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--max_wal_size=64MB", "--min_wal_size=32MB"]

    def environment(self) -> Mapping[str, str]:
        return {} if self._clock is None else self._clock.environment


class ImpatientMariaDB(MariaDB):
    """One that ends waits for locks early."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), f"--innodb-lock-wait-timeout={LOCK_WAIT}"]


class SmallRabbitMQ(RabbitMQ):
    """One with its default virtual host alone, since each takes time whenever it starts."""

    start_seconds = 300.0  # It does so several times, on a machine that has all the others to run meanwhile.

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._virtual_hosts = []


class Clock:
    """A wall clock of the processes that are started with it; see clock.c."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.move(0)
        file.chmod(0o644)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(file)}

    def move(self, seconds: int) -> None:
        """Have it be so many seconds ahead of the machine's, from now on."""
        self.moved = seconds
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@dataclass(frozen=True)
class Site:
    """What faults are injected into. `…_proxy` stands between the service and a server.

    url: of the database, past its proxy. small_disks: folders that are file systems of their own, by name; none where
    this machine lets nobody mount any.
    """

    folder: Path
    broker: RabbitMQ
    server: PostgreSQL | MariaDB
    database: Database
    url: str
    broker_proxy: Proxy
    database_proxy: Proxy
    stores: FaultyStores
    cast: Sequence[Member]
    settings: Settings
    small_disks: Mapping[str, Path]
    worker_clock: Clock | None
    database_clock: Clock | None

    @property
    def scratch(self) -> Path:
        """The folder of [DEFAULT] scratch_path."""
        return self.folder / "scratch"

    def members(self, kind: str, *, mortal: bool) -> Sequence[Member]:
        """Those of one kind that kills may choose, or may not."""
        return [member for member in self.cast if member.kind == kind and member.is_mortal == mortal]


@contextmanager
def new_site(kind: str) -> Iterator[Site]:
    """A site without images, its processes not started. kind: of the database, `postgresql` or `mariadb`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="manifest-service-faults-")))
        folder.chmod(0o711)  # PostgreSQL may have another user.
        small_disks = _mount_small_disks(stack, folder)
        library = _build_clock(folder)
        worker_clock = None if library is None else Clock(library, folder / "worker-clock")
        database_clock = None if library is None else Clock(library, folder / "database-clock")
        server: PostgreSQL | MariaDB = (
            SmallPostgreSQL(folder / "database" / "data", database_clock)
            if kind == "postgresql"
            else ImpatientMariaDB(folder / "database" / "data")
        )
        broker = stack.enter_context(SmallRabbitMQ(folder / "broker"))
        stack.enter_context(server)
        url = server.create_database()
        database = Database(url)
        stack.callback(database.close)
        schema.upgrade(database)
        stores = stack.enter_context(FaultyStores(folder / "images"))
        broker_proxy = stack.enter_context(Proxy(broker.port))
        database_proxy = stack.enter_context(Proxy(server.port))
        settings = _settings(folder, broker, broker_proxy, url, database_proxy, stores)
        yield Site(
            folder=folder,
            broker=broker,
            server=server,
            database=database,
            url=url,
            broker_proxy=broker_proxy,
            database_proxy=database_proxy,
            stores=stores,
            cast=_make_cast(folder, settings, worker_clock),
            settings=settings,
            small_disks=small_disks,
            worker_clock=worker_clock,
            database_clock=database_clock if kind == "postgresql" else None,
        )


def _settings(
    folder: Path, broker: RabbitMQ, broker_proxy: Proxy, url: str, database_proxy: Proxy, stores: FaultyStores
) -> Settings:
    through = make_url(url).set(port=database_proxy.port).render_as_string(hide_password=False)
    return {
        "DEFAULT": {
            "transport_url": broker.transport_url.replace(f":{broker.port}/", f":{broker_proxy.port}/"),
            "state_path": folder / "state",
            "scratch_path": folder / "scratch",
        },
        # Nothing that waits in the broker is lost when it restarts. Reconciling would find what was lost: it is off.
        "oslo_messaging_rabbit": {"amqp_durable_queues": "true", "rabbit_interval_max": 2},
        "reconcile": {"interval": 0},
        "scrub": {"bytes_per_day": 0},
        "database": {"connection": through, "max_retries": -1, "retry_interval": 1},
        "listener": {"requeue_delay": 0.5},
        "worker": {"lease": LEASE, "retry_delay": 0.5},
        "limits": {"store_silence": 2, "store_pause": 0.1, "scratch_reserve": 1 << 20, "stream_window": 1 << 20},
        "glance": {"auth_type": "none", "endpoint": stores.url},
        "glance_store": {"stores": "file,http", "filesystem_store_datadir": folder / "images"},
    }


def _make_cast(folder: Path, settings: Settings, clock: Clock | None) -> Sequence[Member]:
    """Two listeners, three workers, two APIs; one of each cannot be killed, and one worker has a clock of its own."""
    environment = None if clock is None else clock.environment
    return [
        Member(ListenerProcess(folder / "listener-1", settings), is_mortal=True),
        Member(ListenerProcess(folder / "listener-2", settings), is_mortal=False),
        Member(WorkerProcess(folder / "worker-1", settings), is_mortal=True),
        Member(WorkerProcess(folder / "worker-2", settings), is_mortal=True, environment=environment),
        Member(WorkerProcess(folder / "worker-3", settings), is_mortal=False),
        Member(ApiProcess(folder / "api-1", settings), is_mortal=True),
        Member(ApiProcess(folder / "api-2", settings), is_mortal=False),
    ]


def _mount_small_disks(stack: ExitStack, folder: Path) -> Mapping[str, Path]:
    """Give scratch and database a file system each that can be filled up."""
    disks = {"scratch": folder / "scratch", "database": folder / "database"}
    for (name, path), size in zip(disks.items(), (_SCRATCH_SIZE, _DATABASE_SIZE), strict=True):
        path.mkdir(mode=0o711)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", f"manifest-service-{name}", str(path)]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
            return {}
        stack.callback(subprocess.run, ["umount", "--lazy", str(path)], check=True)
    return disks


def _build_clock(folder: Path) -> Path | None:
    """Build clock.c; None where there is no compiler."""
    library = folder / "clock.so"
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, _CLOCK_SOURCE], check=True)
    except FileNotFoundError:
        return None
    return library
