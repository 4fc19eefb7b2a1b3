"""Glance's side of the wire: what it sends when an image was uploaded. The demo and the tests play Glance with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import oslo_messaging
from oslo_config import cfg


class GlanceNotifier:
    """Sends notifications as Glance does with `driver = messagingv2`."""

    def __init__(self, conf: cfg.ConfigOpts, transport: Any) -> None:
        """Send over `transport`, as `open_transport` gives it, to the topics that [listener] of `conf` listens to."""
        self._notifier = oslo_messaging.Notifier(
            transport, publisher_id="image.localhost", driver="messagingv2", topics=conf.listener.topics
        )

    def send(self, event_type: str, payload: object, priority: str = "info") -> None:
        """Send one notification. payload: of any shape, so that tests can send what Glance does not."""
        getattr(self._notifier, priority)({}, event_type, payload)


def upload_payload(image_id: str, **described: object) -> Mapping[str, Any]:
    """The payload of `image.upload`, with every key that Glance 33 sends; `described` sets or overrides some."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": image_id,
        "name": None,
        "status": "active",
        "disk_format": "qcow2",
        "container_format": "bare",
        "checksum": None,
        "size": None,
        "virtual_size": None,
        "created_at": now,
        "updated_at": now,
        "deleted": False,
        "deleted_at": None,
        "is_public": False,
        "visibility": "shared",
        "min_disk": 0,
        "min_ram": 0,
        "owner": None,
        "protected": False,
        "tags": [],
        "properties": {},
        "os_glance_failed_import": [],
        "os_glance_importing_to_stores": [],
        **described,
    }
