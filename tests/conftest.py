"""Fixtures of all tests: real servers, fresh databases, outside programs.

Whoever asks for a server gets the marker `servers`, which `make test-fast` leaves out. Servers start when first asked
for and are shared by the whole run; what must not be shared (databases, virtual hosts, a Glance to be killed) is made
for one test. A test may kill a server: the next one that asks for it finds it started again.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from oslo_context import context

from api.app import create_app
from api.server import ApiServer
from manifest_service import config
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.servers import programs
from tests.servers.glance import Glance
from tests.servers.keystone import Keystone
from tests.servers.mariadb import MariaDB
from tests.servers.nova import NovaNode
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.swift import Swift

# Machines are shared and noisy: how long an example takes says nothing.
settings.register_profile("manifest-service", deadline=None)
settings.load_profile("manifest-service")

_SERVER_FIXTURES = {
    "rabbitmq_server",
    "postgresql_server",
    "mariadb_server",
    "glance_server",
    "nova_node",
    "chromium",
    "swift_server",
    "keystone_server",
}


def pytest_configure() -> None:
    """Let those that we start be interrupted: a shell has these signals ignored in the background, which is inherited.

    What is caught here has its default in a program that is started.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use servers, and run them last; of each kind, the slow ones after the others.

    pytest-randomly has shuffled before; the sort keeps its order.
    """
    for item in items:
        if _SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)
    items.sort(key=lambda item: [item.get_closest_marker(name) is not None for name in ("servers", "slow")])


@pytest.fixture(autouse=True)
def _requests_end() -> Iterator[None]:
    """Fail a test that leaves a request open in this thread: the lines that later tests log would carry its id."""
    yield
    left = context.get_current()
    context._request_store.context = None
    assert left is None, f"{left.request_id} has not ended: read its answer to the end (buffered=True) or close it"


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    # pytest's folders are closed to other users, and root has to run PostgreSQL as one.
    with TemporaryDirectory(prefix="manifest-service-tests-") as folder:
        os.chmod(folder, 0o711)
        with PostgreSQL(Path(folder) / "postgresql") as server:
            yield server


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def glance_server(rabbitmq_server: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    transport_url = rabbitmq_server.transport_url_of(rabbitmq_server.create_virtual_host())
    with Glance(tmp_path_factory.mktemp("glance"), transport_url) as server:
        yield server


@pytest.fixture(scope="session")
def keystone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    with Keystone(tmp_path_factory.mktemp("keystone")) as server:
        yield server


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with Swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def rabbitmq(rabbitmq_server: RabbitMQ) -> RabbitMQ:
    """RabbitMQ, running, shared: use `transport_url` unless the test kills it."""
    rabbitmq_server.start()
    return rabbitmq_server


@pytest.fixture
def transport_url(rabbitmq: RabbitMQ) -> str:
    """A virtual host of RabbitMQ for this test alone."""
    return rabbitmq.transport_url_of(rabbitmq.create_virtual_host())


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> PostgreSQL:
    """PostgreSQL, running, shared."""
    postgresql_server.start()
    return postgresql_server


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> MariaDB:
    """MariaDB, running, shared."""
    mariadb_server.start()
    return mariadb_server


@pytest.fixture
def swift(swift_server: Swift) -> Swift:
    """Swift, which also speaks S3, running, shared."""
    swift_server.start()
    return swift_server


@pytest.fixture
def keystone(keystone_server: Keystone) -> Keystone:
    """Keystone with users of every role, running, shared."""
    keystone_server.start()
    return keystone_server


@pytest.fixture
def glance(rabbitmq: RabbitMQ, glance_server: Glance) -> Glance:
    """Glance with one file store, running, shared; it notifies on `glance.transport_url`, its own virtual host."""
    glance_server.start()
    return glance_server


@pytest.fixture
def glance_factory(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Glance]]:
    """Starts a new Glance, with a virtual host of its own, for this test alone; takes the options of `Glance`."""
    made: list[Glance] = []

    def make(**options: object) -> Glance:
        options.setdefault("transport_url", rabbitmq.transport_url_of(rabbitmq.create_virtual_host()))
        made.append(Glance(tmp_path_factory.mktemp("glance"), **options))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def nova_node(tmp_path: Path) -> NovaNode:
    """A compute node whose `_base` is empty; each call starts Nova's own code, so it counts as a server."""
    return NovaNode(tmp_path / "instances")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.servers),
        pytest.param("mariadb", marks=pytest.mark.servers),
    ]
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for this test alone, as SQLAlchemy names it: the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/manifest-service.sqlite"
        return
    server: PostgreSQL | MariaDB = request.getfixturevalue(request.param)
    url = server.create_database()
    yield url
    server.start()  # the test may have killed it
    server.drop(url)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with our tables, to be copied: all migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "migrated.sqlite"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture
def database(database_url: str, migrated_file: Path) -> Iterator[Database]:
    """A database of each kind with our tables in it, for this test alone."""
    if database_url.startswith("sqlite:///"):
        copyfile(migrated_file, database_url.removeprefix("sqlite:///"))
    database = Database(database_url)
    if database.engine.dialect.name != "sqlite":
        schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def serve_api(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts APIs that end with the test: serve_api(database, page_limit=…)."""
    running: list[tuple[ApiServer, threading.Thread]] = []

    def start(database: Database, **api_options: Any) -> Client:
        empty = tmp_path / "empty.conf"
        empty.touch()
        conf = config.load([str(empty)], [("api", name, value) for name, value in api_options.items()])
        server = ApiServer(create_app(conf, database), "127.0.0.1", 0, threads=4, connection_limit=100)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        return Client(server.port)

    yield start
    for server, thread in running:
        server.stop()
        thread.join()


@pytest.fixture
def api(database: Database, serve_api: Callable[..., Client]) -> Client:
    """The API over each kind of database."""
    return serve_api(database)


@pytest.fixture
def local(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """A SQLite database with our tables."""
    copyfile(migrated_file, tmp_path / "local.sqlite")
    database = Database(f"sqlite:///{tmp_path}/local.sqlite")
    yield database
    database.close()


@pytest.fixture
def local_api(local: Database, serve_api: Callable[..., Client]) -> Client:
    """The API over SQLite, where the kind of database does not matter."""
    return serve_api(local)


@pytest.fixture(scope="session")
def qemu_img() -> Path:
    return programs.find("qemu-img", "qemu-utils")


@pytest.fixture(scope="session")
def fsverity() -> Path:
    return programs.find("fsverity", "fsverity")


@pytest.fixture(scope="session")
def bmaptool() -> Path:
    return programs.find("bmaptool", "bmap-tools")
