"""The listener at its door: messages on a real RabbitMQ, rows in a database."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from amqp import Message
from oslo_config import cfg
from sqlalchemy import func, make_url, select, text

from manifest_service import config
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Event, Image
from manifest_service.manifests.work_models import QueueEntry
from notifications.endpoint import RECEIVED, ImageEndpoint
from notifications.glance import GlanceNotifier, upload_payload
from notifications.listener import Listener, open_transport
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ
from tests.waiting import eventually

QUEUE = "manifest-service"
IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"


def glance_payload(**changes: Any) -> Mapping[str, Any]:
    """A complete image.upload."""
    described = {"name": "q1", "checksum": "d077c61681203ae001b4ebc4ddd38a4e", "size": 2949120} | changes
    return upload_payload(str(described.pop("id", IMAGE_ID)), **described)


def configure(folder: Path, transport_url: str) -> cfg.ConfigOpts:
    file = folder / "manifest-service.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = {transport_url}\n[listener]\nrequeue_delay = 0.2\n")
    return config.load([str(file)])


@contextmanager
def listening(conf: cfg.ConfigOpts, database: Database) -> Iterator[None]:
    listener = Listener(conf, database)
    listener.start()
    try:
        # What is sent before its queue is there, nobody keeps.
        eventually(lambda: listener.look()["listening"])
        yield
    finally:
        listener.stop()


@pytest.fixture
def notify(tmp_path: Path, transport_url: str) -> Iterator[Callable[..., None]]:
    """Sends as Glance does: notify(event_type, payload, priority="info")."""
    folder = tmp_path / "glance"
    folder.mkdir()
    conf = configure(folder, transport_url)
    transport = open_transport(conf)
    yield GlanceNotifier(conf, transport).send
    transport.cleanup()


def count(database: Database, table: type[Any]) -> int:
    return database.transaction(lambda session: session.scalar(select(func.count()).select_from(table)) or 0)


def outcomes(name: str) -> float:
    return float(RECEIVED.labels(name)._value.get())


@pytest.mark.servers
def test_an_upload_becomes_an_image_an_entry_and_a_line_of_history(
    database: Database, tmp_path: Path, transport_url: str, notify: Callable[..., None]
) -> None:
    with listening(configure(tmp_path, transport_url), database):
        for event_type in ("image.upload", "image.activate", "image.update", "image.upload"):
            notify(event_type, glance_payload())
        notify("image.update", glance_payload(id="11111111-1111-4111-8111-111111111111", name="last"))
        eventually(lambda: count(database, Image) == 2)

    assert count(database, QueueEntry) == 2


@pytest.mark.servers
def test_what_glance_does_not_send_is_counted_and_dropped(
    tmp_path: Path, transport_url: str, notify: Callable[..., None]
) -> None:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    malformed: list[object] = [
        "a string",
        None,
        [],
        glance_payload(id="../../etc/passwd"),
        {**glance_payload(), "id": None},
        glance_payload(size=-1),
        glance_payload(size=2**63),
        glance_payload(size="12"),
        glance_payload(updated_at="yesterday"),
        glance_payload(updated_at="9999-12-31T23:59:59-23:59"),
        glance_payload(checksum="zz"),
        glance_payload(disk_format="qcow2\x1b[31m"),
        glance_payload(status={}),
    ]
    before = {name: outcomes(name) for name in ("malformed", "ignored", "recorded")}

    with listening(configure(tmp_path, transport_url), database):
        for payload in malformed:
            notify("image.upload", payload)
        notify("image.send", {"image_id": IMAGE_ID})
        notify("compute.instance.create.end", {"anything": "at all"})
        notify("image.upload", glance_payload(name="\x00\U0001f600 <script>" + "x" * 300))
        eventually(lambda: count(database, Image) == 1)

    assert outcomes("malformed") - before["malformed"] == len(malformed)
    assert outcomes("ignored") - before["ignored"] == 2
    assert outcomes("recorded") - before["recorded"] == 1
    name = database.transaction(lambda session: session.scalars(select(Image.name)).one())
    assert name is not None
    assert name.startswith("\ufffd\U0001f600 <script>x")
    assert len(name) == 255


@pytest.mark.servers
def test_a_rejected_upload_is_recorded_with_its_sentence(
    database: Database, tmp_path: Path, transport_url: str, notify: Callable[..., None]
) -> None:
    with listening(configure(tmp_path, transport_url), database):
        notify("image.upload", "Image storage media is full\x00", priority="error")
        notify("image.upload", {"not": "text"}, priority="error")
        notify("image.upload", glance_payload())
        eventually(lambda: count(database, Image) == 1 and count(database, Event) == 2)

    events = database.transaction(
        lambda session: session.scalars(select(Event).where(Event.kind == "upload-rejected")).all()
    )
    assert [event.detail for event in events] == [{"message": "Image storage media is full\ufffd"}]


@pytest.mark.servers
def test_bytes_that_are_no_message_do_not_stop_the_listener(
    tmp_path: Path, rabbitmq: RabbitMQ, notify: Callable[..., None], transport_url: str
) -> None:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    with listening(configure(tmp_path, transport_url), database):
        notify("image.upload", glance_payload())
        eventually(lambda: count(database, Image) == 1)
        with rabbitmq.connect(virtual_host_of(transport_url)) as connection:
            channel = connection.channel()
            for body in (b"\xff\x00", b"[]", b"{}", b'"text"', json.dumps({"oslo.message": "{"}).encode()):
                message = Message(body, content_type="application/json", content_encoding="utf-8")
                channel.basic_publish(message, exchange="glance", routing_key="notifications.info")
        notify("image.upload", glance_payload(id="11111111-1111-4111-8111-111111111111"))
        eventually(lambda: count(database, Image) == 2)


@pytest.mark.servers
def test_a_message_whose_acknowledgement_was_lost_comes_again_and_does_not_stay_with_the_listener(
    tmp_path: Path, rabbitmq: RabbitMQ, transport_url: str, notify: Callable[..., None], local: Database
) -> None:
    before = outcomes("recorded")
    with Proxy(rabbitmq.port) as proxy:
        through = transport_url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        with listening(configure(tmp_path, through), local):
            with local.engine.connect() as others:
                others.exec_driver_sql("ROLLBACK")
                others.exec_driver_sql("BEGIN IMMEDIATE")
                notify("image.upload", glance_payload())
                eventually(
                    lambda: waiting(rabbitmq, transport_url) == 0
                )  # It is at the listener, and cannot be written.
                proxy.hold()
            eventually(lambda: outcomes("recorded") == before + 1)
            proxy.cut()
            proxy.release()
            eventually(lambda: outcomes("recorded") == before + 2)
            # Nor is one left that a listener has not acknowledged.
            eventually(lambda: rabbitmq.messages(QUEUE, virtual_host_of(transport_url)) == 0)


def waiting(rabbitmq: RabbitMQ, transport_url: str) -> int:
    """Messages that are at no listener, of our own pool's queue."""
    with rabbitmq.connect(virtual_host_of(transport_url)) as connection:
        return int(connection.channel().queue_declare(QUEUE, passive=True).message_count)


def virtual_host_of(transport_url: str) -> str:
    return transport_url.rsplit("/", 1)[1]


@pytest.mark.servers
def test_nothing_is_lost_while_the_database_is_away(
    tmp_path: Path, transport_url: str, postgresql: PostgreSQL, notify: Callable[..., None]
) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    before = outcomes("requeued")
    try:
        with listening(configure(tmp_path, transport_url), database):
            notify("image.upload", glance_payload())
            eventually(lambda: count(database, Image) == 1)
            postgresql.kill()
            for number in range(5):
                notify("image.upload", glance_payload(id=f"{number:08d}-1111-4111-8111-111111111111"))
            eventually(lambda: outcomes("requeued") > before)
            postgresql.start()
            eventually(lambda: count(database, Image) == 6)
    finally:
        postgresql.start()
        database.close()
        postgresql.drop(url)


def _taken_in(database: Database, **changes: Any) -> str | None:
    return ImageEndpoint(database, 0).info({}, "image.localhost", "image.upload", glance_payload(**changes), {})


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999+00:00", "2999-01-01T00:00:00"])
def test_a_message_from_the_future_says_nothing_for_good(time: str, local: Database) -> None:
    for changes in ({"owner": "forged", "updated_at": time}, {"owner": "p1"}):
        assert _taken_in(local, **changes) is None

    assert local.transaction(lambda session: session.scalars(select(Image.owner)).one()) == "p1"


def test_nothing_is_lost_while_tables_are_not_there(database: Database) -> None:
    """As while a backup is restored."""
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE images RENAME TO elsewhere"))
    assert _taken_in(database) == "requeue"

    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO images"))
    assert _taken_in(database) is None
    assert count(database, Image) == 1


@pytest.mark.servers
def test_nothing_is_lost_while_postgresql_is_read_only(postgresql: PostgreSQL) -> None:
    """As a standby is, or a server whose keeper found the disk full."""
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    database.close()
    options = {"options": "-c default_transaction_read_only=on"}
    read_only = Database(make_url(url).update_query_dict(options).render_as_string(hide_password=False))
    try:
        assert _taken_in(read_only) == "requeue"
    finally:
        read_only.close()
        postgresql.drop(url)
