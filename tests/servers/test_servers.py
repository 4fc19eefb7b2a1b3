"""The servers that other tests stand on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import amqp
import pytest
import requests
import sqlalchemy as sa

from tests.servers.glance import Glance
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import Server, ServerFailedError, alive
from tests.servers.rabbitmq import RabbitMQ


def run(url: str, *statements: str) -> Any:
    """Each statement in turn; what the last one answers."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return result.scalar() if result.returns_rows else None


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
@pytest.mark.servers
def test_database_survives_kill(name: str, request: pytest.FixtureRequest) -> None:
    server: PostgreSQL | MariaDB = request.getfixturevalue(name)
    url = server.create_database()
    run(url, "CREATE TABLE kept (number INTEGER)", "INSERT INTO kept VALUES (7)")
    pid = server.pid

    server.kill()
    with pytest.raises(sa.exc.OperationalError):
        run(url, "SELECT 1")
    server.start()

    assert server.pid != pid
    assert run(url, "SELECT number FROM kept") == 7
    server.drop(url)


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
@pytest.mark.servers
def test_drop_cuts_off_who_is_connected(name: str, request: pytest.FixtureRequest) -> None:
    server: PostgreSQL | MariaDB = request.getfixturevalue(name)
    url = server.create_database()
    run(url, "CREATE TABLE held (number INTEGER)")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    connection = engine.connect()
    connection.execute(sa.text("SELECT * FROM held"))

    server.drop(url)

    connection.invalidate()
    connection.close()
    with pytest.raises(sa.exc.OperationalError):
        run(url, "SELECT 1")


def test_database_is_fresh(database_url: str) -> None:
    run(database_url, "CREATE TABLE once (number INTEGER)")
    assert run(database_url, "SELECT count(*) FROM once") == 0


def test_rabbitmq_keeps_persistent_messages(rabbitmq: RabbitMQ) -> None:
    virtual_host = rabbitmq.create_virtual_host()
    with closing(rabbitmq.connect(virtual_host)) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key="kept")

    rabbitmq.kill()
    rabbitmq.start()

    with closing(rabbitmq.connect(virtual_host)) as connection:
        assert connection.channel().basic_get("kept", no_ack=True).body == "hello"


def test_rabbitmq_listens_on_loopback_only(rabbitmq: RabbitMQ) -> None:
    assert _listening(_family(rabbitmq.pid)) == {"127.0.0.1"}


def test_virtual_hosts_are_apart(rabbitmq: RabbitMQ) -> None:
    one, other = rabbitmq.create_virtual_host(), rabbitmq.create_virtual_host()
    with closing(rabbitmq.connect(one)) as connection:
        connection.channel().queue_declare("here")
        with closing(rabbitmq.connect(other)) as elsewhere, pytest.raises(amqp.NotFound):
            elsewhere.channel().queue_declare("here", passive=True)


def test_glance_uploads_and_notifies(glance: Glance, rabbitmq: RabbitMQ) -> None:
    image = glance.client.create_image("raw", name="a disk")
    glance.client.upload(image["id"], b"disk" * 256)

    active = glance.client.show(image["id"])
    assert (active["status"], active["size"], active["os_hash_algo"]) == ("active", 1024, "sha512")
    stored = glance.store_folder() / image["id"]
    assert stored.read_bytes() == b"disk" * 256
    assert [location["url"] for location in glance.client.locations(image["id"])] == [f"file://{stored}"]
    sent = _notifications(rabbitmq, glance.transport_url)
    payloads = [message["payload"] for message in sent if message["event_type"] == "image.upload"]
    payload = next(payload for payload in payloads if payload["id"] == image["id"])
    assert (payload["status"], payload["checksum"]) == ("active", active["checksum"])
    assert (payload["size"], payload["virtual_size"]) == (1024, 1024)

    glance.client.delete(image["id"])

    assert not stored.exists()
    with pytest.raises(requests.HTTPError, match="404"):
        glance.client.show(image["id"])
    sent = _notifications(rabbitmq, glance.transport_url)
    assert [m["payload"]["deleted"] for m in sent if m["event_type"] == "image.delete"] == [True]


def test_glance_checks_roles(glance: Glance) -> None:
    reader = type(glance.client)(glance.endpoint, roles=["reader"])
    assert isinstance(reader.list_images(), list)
    with pytest.raises(requests.HTTPError, match="403"):
        reader.create_image()


def test_glance_survives_kill(glance: Glance) -> None:
    image = glance.client.create_image("raw")
    glance.client.upload(image["id"], iter([b"in", b"chunks"]))

    glance.kill()
    glance.start()

    assert glance.client.show(image["id"])["size"] == 8


def test_glance_with_several_stores(glance_factory: Callable[..., Glance]) -> None:
    glance = glance_factory(backends=["fast", "cheap"], amqp_durable_queues=True)
    image = glance.client.create_image("raw")
    glance.client.stage(image["id"], b"staged")
    glance.client.import_staged(image["id"], ["fast", "cheap"])

    _until(lambda: not glance.client.is_importing(image["id"]))

    assert glance.client.show(image["id"])["status"] == "active"
    for store in ("fast", "cheap"):
        assert (glance.store_folder(store) / image["id"]).read_bytes() == b"staged"
    assert {location["metadata"]["store"] for location in glance.client.locations(image["id"])} == {"fast", "cheap"}
    glance.client.delete(image["id"], store="cheap")
    assert not (glance.store_folder("cheap") / image["id"]).exists()


class _Broken(Server):
    name = "broken"

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        return ["/bin/sh", "-c", "echo no such thing; exit 3"]

    def ask(self) -> None:
        raise ConnectionError


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    server = _Broken(tmp_path)
    with pytest.raises(ServerFailedError, match=r"ended with status 3(.|\n)*no such thing"):
        server.start()
    assert not server.running


_FORSAKEN = """
import sys, time
from pathlib import Path
from tests.servers.process import Server

class Sleeper(Server):
    name = "sleeper"
    def prepare(self): pass
    def command(self): return ["sleep", "600"]
    def ask(self): pass

server = Sleeper(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def test_nothing_survives_a_killed_test_run(tmp_path: Path) -> None:
    run_of_tests = subprocess.Popen(
        [sys.executable, "-c", _FORSAKEN, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with run_of_tests:
        assert run_of_tests.stdout is not None
        pid = int(run_of_tests.stdout.readline())
        assert alive(pid)
        run_of_tests.send_signal(signal.SIGKILL)
    _until(lambda: not alive(pid))


_HEADLESS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print("", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_alive_until_its_last_thread_has_ended() -> None:
    """Else a killed server may hold its port still when it is started again."""
    with subprocess.Popen([sys.executable, "-c", _HEADLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        _until(lambda: " Z " in Path(f"/proc/{process.pid}/stat").read_text())

        assert alive(process.pid)

        process.kill()
        _until(lambda: not alive(process.pid))


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _notifications(rabbitmq: RabbitMQ, transport_url: str) -> list[dict[str, Any]]:
    """What lies in the queue that Glance's own notifier declares, unwrapped from the envelope of oslo.messaging."""
    found = []
    with closing(rabbitmq.connect(transport_url.rpartition("/")[2])) as connection:
        channel = connection.channel()
        while message := channel.basic_get("notifications.info", no_ack=True):
            found.append(json.loads(json.loads(message.body)["oslo.message"]))
    return found


def _family(pid: int) -> set[int]:
    """The processes in the session that the server leads."""
    return {int(p.name) for p in Path("/proc").glob("[0-9]*") if _session(p) == pid}


def _session(process: Path) -> int | None:
    try:
        return os.getsid(int(process.name))
    except ProcessLookupError:
        return None


def _listening(pids: set[int]) -> set[str]:
    """The local addresses on which processes listen, from /proc."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):  # The process may have ended.
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):  # It may have been closed.
                    target = os.readlink(descriptor)
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # 0A: LISTEN
                address = fields[1].partition(":")[0]
                addresses.add("127.0.0.1" if address == "0100007F" else address)
    return addresses
