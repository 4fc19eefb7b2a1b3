"""Record what Glance sends in each flow: `python -m tests.flows.record [FLOW…]`, from the top of the checkout.

It starts RabbitMQ and Glance, plays each flow, and writes the notifications of its image, as a pool of listeners gets
them, to tests/notifications/recorded/FLOW.json. Do it anew when the Glance of tools/glance-constraints.txt changes.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from manifest_service import config
from notifications.listener import open_transport
from tests.flows.flows import CONVERTING, FLOWS, SEVERAL_STORES, Flow, User, user_of
from tests.servers.glance import Glance
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import write_config
from tests.waiting import eventually

RECORDED = Path(__file__).parents[1] / "notifications" / "recorded"
_POOL = "recorder"
_LOOPBACK = re.compile(r"127\.0\.0\.1:\d+")


class Recorder:
    """An endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages: list[dict[str, Any]] = []

    def info(self, context: object, publisher_id: str, event_type: str, payload: object, metadata: object) -> None:
        self._keep("info", event_type, payload, metadata)

    def error(self, context: object, publisher_id: str, event_type: str, payload: object, metadata: object) -> None:
        self._keep("error", event_type, payload, metadata)

    def _keep(self, priority: str, event_type: str, payload: object, metadata: object) -> None:
        message = {"priority": priority, "event_type": event_type, "payload": payload, "metadata": metadata}
        with self._lock:
            self.messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        """All that came since the last time."""
        with self._lock:
            taken, self.messages = self.messages, []
        return taken

    def has_heard_of(self, image_id: str) -> bool:
        with self._lock:
            return any(
                message["event_type"] == "image.update" and message["payload"]["id"] == image_id
                for message in self.messages
            )


def is_of(message: Mapping[str, Any], image_id: str) -> bool:
    """Whether a message is of an image; a rejected upload's does not say, and counts."""
    payload = message["payload"]
    if isinstance(payload, str):
        return True
    is_member = message["event_type"].startswith("image.member.")
    return bool(payload.get("image_id" if is_member else "id") == image_id)


def sanitised(messages: Sequence[Mapping[str, Any]], glance: Glance) -> list[Any]:
    """The messages without what is of this run alone: folders and ports."""
    text = json.dumps(messages).replace(str(glance.folder), "/var/lib/glance")
    cleaned: list[Any] = json.loads(_LOOPBACK.sub("127.0.0.1:8000", text))
    return cleaned


def record(flow: Flow, user: User, recorder: Recorder, glance: Glance) -> None:
    """Play one flow and write its file."""
    recorder.take()
    image_id = flow.act(user)
    eventually(lambda: _last_came(user, recorder))
    messages = [message for message in recorder.take() if is_of(message, image_id)]
    document = {"flow": flow.name, "image_id": image_id, "messages": sanitised(messages, glance)}
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{flow.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{flow.name}: {len(messages)} messages")


def _last_came(user: User, recorder: Recorder) -> bool:
    """Upload one more image, and wait for what Glance sends of it: all before has been sent by then."""
    try:
        last = user.upload()
    except requests.HTTPError:
        return False  # Glance's SQLite was locked by a task of its own.
    eventually(lambda: recorder.has_heard_of(last))
    return True


@contextmanager
def listening(glance: Glance, folder: Path) -> Iterator[Recorder]:
    """A recorder that gets all that this Glance sends."""
    import oslo_messaging  # noqa: PLC0415  # After `notifications`, which has it use threads.

    conf = config.load(
        [str(write_config(folder / "recorder.conf", {"DEFAULT": {"transport_url": glance.transport_url}}))]
    )
    transport, recorder = open_transport(conf), Recorder()
    targets = [oslo_messaging.Target(topic="notifications", exchange="glance")]
    server = oslo_messaging.get_notification_listener(
        transport, targets, [recorder], executor="threading", allow_requeue=True, pool=_POOL
    )
    server.start()
    try:
        yield recorder
    finally:
        server.stop()
        server.wait()
        transport.cleanup()


def main(names: Sequence[str]) -> None:
    wanted = [flow for flow in FLOWS if not names or flow.name in names]
    kinds = {"several": (["fast", "cheap"], SEVERAL_STORES), "converting": ([], CONVERTING)}
    with TemporaryDirectory(prefix="manifest-service-tests-") as name, RabbitMQ(Path(name)) as rabbitmq:
        for kind, (backends, settings) in kinds.items():
            folder = Path(name) / kind
            folder.mkdir()
            with ExitStack() as stack:
                transport_url = rabbitmq.transport_url_of(rabbitmq.create_virtual_host())
                glance = Glance(folder, transport_url, backends=backends, settings=settings)
                recorder = stack.enter_context(listening(glance, folder))
                stack.enter_context(glance)
                user = stack.enter_context(user_of(glance, folder / "files"))
                for flow in wanted:
                    if flow.glance == kind:
                        record(flow, user, recorder, glance)


if __name__ == "__main__":
    main(sys.argv[1:])
