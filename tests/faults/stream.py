"""The stream of uploads: bytes into stores, notifications into the broker, in Glance's order; deletions too."""

import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from manifest_service import config
from notifications.glance import GlanceNotifier, upload_payload
from notifications.listener import open_transport
from tests.faults.kinds import Event, Sample
from tests.faults.site import Site
from tests.faults.stores import StoredImage
from tests.servers.service import write_config

_LATE = 1.0
"""Seconds that bytes come after their notifications."""
_LIFETIME = 3.0
"""Seconds that an image lives which is deleted at any moment, at most."""
_PATIENCE = 60.0
"""Seconds that a deletion waits for a worker to read the image."""


class Stream:
    """Uploads images, one after the other, as a Glance would that waits for its broker."""

    def __init__(self, site: Site, samples: Sequence[Sample], notifier: GlanceNotifier, seed: str) -> None:
        """samples: to draw from, by the weight of their kinds. seed: of what is drawn."""
        self._site = site
        self._notifier = notifier
        self._samples = samples
        self._rng = random.Random(f"{seed} stream")
        self._weights = [sample.kind.weight for sample in samples]
        self._later: list[threading.Thread] = []
        self._sending = threading.Lock()
        self.uploaded: dict[str, Sample] = {}
        """By image id: what must come to its right end."""

    def upload(self) -> None:
        """Upload one image; returns when the broker has taken all that is to be said of it."""
        # Each kind comes once before any comes by weight.
        number = len(self.uploaded)
        drawn = self._rng.choices(self._samples, self._weights)[0]
        sample = self._samples[number] if number < len(self._samples) else drawn
        image_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        stored = self._site.stores.add(image_id, sample)
        event = sample.kind.event
        if event is not Event.LATE:
            self._site.stores.fill(stored)
        for event_type in ("image.upload", "image.activate", "image.update"):
            self._send(event_type, stored)
        self.uploaded[image_id] = sample
        if event is Event.LATE:
            self._do_later(self._fill_late, stored)
        elif event in {Event.DELETED, Event.DELETED_WHILE_READ}:
            self._do_later(self._delete, stored, self._rng.uniform(0, _LIFETIME))

    def finish(self) -> None:
        """Return when all is said and done of all images."""
        for thread in self._later:
            thread.join()

    def _fill_late(self, stored: StoredImage) -> None:
        time.sleep(_LATE)
        self._site.stores.fill(stored)

    def _delete(self, stored: StoredImage, lifetime: float) -> None:
        if stored.sample.kind.event is Event.DELETED_WHILE_READ:
            stored.was_asked.wait(_PATIENCE)
        else:
            time.sleep(lifetime)
        self._send("image.delete", stored, status="deleted", deleted=True, deleted_at=_now())
        self._site.stores.remove(stored)

    def _do_later(self, work: Any, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._later = [each for each in self._later if each.is_alive()]
        self._later.append(thread)
        thread.start()

    def _send(self, event_type: str, stored: StoredImage, **described: object) -> None:
        sample = stored.sample
        payload = upload_payload(
            stored.image_id,
            name=sample.kind.name,
            disk_format=sample.kind.disk_format,
            container_format=sample.kind.container_format,
            size=sample.size,
            checksum=sample.md5,
            **described,
        )
        with self._sending:
            self._notifier.send(event_type, payload)


@contextmanager
def new_stream(site: Site, samples: Sequence[Sample], seed: str) -> Iterator[Stream]:
    """A stream into a site, whose broker is up."""
    conf = config.load([str(write_config(site.folder / "glance.conf", site.settings))])
    transport = open_transport(conf)
    try:
        yield Stream(site, samples, GlanceNotifier(conf, transport), seed)
    finally:
        transport.cleanup()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
