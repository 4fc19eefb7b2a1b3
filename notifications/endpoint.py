"""What happens to one notification: written down in a transaction, or dropped with a reason, or put back.

oslo.messaging acknowledges a message after the endpoint's method has returned, so nothing is acknowledged before it is
durable; and only an answer of REQUEUE keeps a message that could not be written.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import oslo_messaging
from oslo_log import log
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.orm import Session

from manifest_service import logs
from manifest_service.manifests import intake, members
from manifest_service.manifests.database import Database, DatabaseAway
from notifications.grouping import GroupWriter
from notifications.member_payload import read_member_payload
from notifications.payload import MalformedPayload, read_payload, read_time

LOG = log.getLogger(__name__)

EVENT_TYPES = frozenset({"image.upload", "image.activate", "image.update", "image.delete"})
MEMBER_EVENT_TYPES = frozenset({"image.member.create", "image.member.update", "image.member.delete"})
_MESSAGE_ID = re.compile(r"[!-~]{1,64}")

RECEIVED = Counter(
    "manifest_service_notifications",
    "Notifications by what became of them: recorded, ignored, malformed, requeued or broken.",
    ["outcome"],
)
for _outcome in ("recorded", "ignored", "malformed", "requeued", "broken"):
    RECEIVED.labels(_outcome)  # there from the start, at zero: an alert can tell "none" from "no such metric"
DURABLE_SECONDS = Histogram(
    "manifest_service_notification_durable_seconds",
    "Time from a notification's coming in until it is durable and acknowledged.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
LAST_RECEIVED = Gauge(
    "manifest_service_notification_last_time_seconds", "When the last notification came in; 0 where none did yet."
)

Message = Mapping[str, Any]


class ImageEndpoint:
    """Receives Glance's notifications. The method names are the priorities that oslo.messaging dispatches by."""

    def __init__(self, database: Database, requeue_delay: float) -> None:
        """Write to `database`; hold a message for `requeue_delay` seconds before it goes back to the broker."""
        self._database = database
        self._writer = GroupWriter(database)
        self._requeue_delay = requeue_delay
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let go of messages that wait before they go back."""
        self._stop.set()

    def info(
        self, context: Message, publisher_id: str, event_type: str, payload: object, metadata: Message
    ) -> str | None:
        """Take in what happened to an image, or with whom it is shared."""
        with _request_of(context, metadata) as request_id:
            return self._take_in(event_type, payload, metadata, request_id)

    def error(
        self, context: Message, publisher_id: str, event_type: str, payload: object, metadata: Message
    ) -> str | None:
        """Take in a rejected upload: Glance sends its sentence in place of an image."""
        with _request_of(context, metadata):
            return self._take_in_rejection(event_type, payload, metadata)

    def _take_in(self, event_type: str, payload: object, metadata: Message, request_id: str) -> str | None:
        if not isinstance(event_type, str) or event_type not in EVENT_TYPES | MEMBER_EVENT_TYPES:
            RECEIVED.labels("ignored").inc()
            return None
        is_deletion = event_type == "image.delete"
        try:
            if event_type in MEMBER_EVENT_TYPES:
                return self._take_in_member(event_type, payload, metadata)
            seen = read_payload(payload, _sent_at(metadata), is_deletion=is_deletion, request_id=request_id)
        except MalformedPayload as error:
            RECEIVED.labels("malformed").inc()
            LOG.warning("an %s notification is dropped: %s", event_type, error)
            return None
        return self._write(lambda: self._writer.observe(seen), f"{event_type} of image {seen.image_id}")

    def _take_in_member(self, event_type: str, payload: object, metadata: Message) -> str | None:
        """Write down with whom an image is shared, or no more. Raises MalformedPayload."""
        seen = read_member_payload(payload, _sent_at(metadata))

        def commit() -> None:
            self._database.transaction(lambda session: members.observe(session, seen))

        return self._write(commit, f"{event_type} of image {seen.image_id}")

    def _take_in_rejection(self, event_type: str, payload: object, metadata: Message) -> str | None:
        if event_type != "image.upload":
            RECEIVED.labels("ignored").inc()
            return None
        if not isinstance(payload, str):
            RECEIVED.labels("malformed").inc()
            LOG.warning("an error notification is dropped: the payload is a %s, not text", type(payload).__name__)
            return None
        text = payload.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
        message_id = metadata.get("message_id")
        known_id = message_id if isinstance(message_id, str) and _MESSAGE_ID.fullmatch(message_id) else None

        def record(session: Session) -> None:
            intake.record_rejected_upload(session, text, known_id)

        return self._write(lambda: self._database.transaction(record), "a rejected upload")

    def _write(self, commit: Callable[[], None], what: str) -> str | None:
        """Run `commit`, or have the message again later where the database is away."""
        begin = time.monotonic()
        try:
            commit()
        except DatabaseAway as error:
            RECEIVED.labels("requeued").inc()
            LOG.warning("%s goes back to the broker, the database is away: %s", what, error)
            self._stop.wait(self._requeue_delay)
            return str(oslo_messaging.NotificationResult.REQUEUE)
        except Exception:
            # A defect of ours, not of the moment: put back, the message would spin. Reconciliation finds the image.
            RECEIVED.labels("broken").inc()
            LOG.exception("%s is dropped: it could not be written down", what)
            return None
        DURABLE_SECONDS.observe(time.monotonic() - begin)
        RECEIVED.labels("recorded").inc()
        LOG.info("%s is recorded", what)
        return None


@contextmanager
def _request_of(context: object, metadata: Message) -> Iterator[str]:
    """Log within the request that a message belongs to, and note that one came.

    Glance 33 sends an empty context. So the id is made of the message's own, the same whenever it is delivered again.
    """
    LAST_RECEIVED.set_to_current_time()
    said = context.get("request_id") if isinstance(context, Mapping) else None
    with logs.within_request(said, f"req-{metadata.get('message_id')}") as request_id:
        yield request_id


def _sent_at(metadata: Message) -> datetime:
    """When the message was made; the start of time where it does not say, so that it counts as the oldest."""
    stamp = metadata.get("timestamp")
    return read_time(stamp) if isinstance(stamp, str) else datetime(1970, 1, 1, tzinfo=UTC)
