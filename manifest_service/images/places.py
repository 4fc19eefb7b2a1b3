"""Where an image's bytes are: the ways to find out, in the order of [glance] resolve.

A notification never says where the data lies, since a location can hold credentials. For the same reason nothing that
is read here goes into a message: of a place, only the kind of its store is ever told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from manifest_service.errors import UsageError
from manifest_service.images.drivers import Drivers, Place
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_record import ImageLocation
from manifest_service.images.objects.glance_object import GlanceObject

CONVENTION = "convention"


@dataclass(frozen=True)
class UnknownStore:
    """Glance names a store that is not configured here. scheme: its kind, as the location begins."""

    scheme: str


Way = Callable[[str], Iterable[Place | UnknownStore]]
"""From an image's id to where it may be. It raises DownloadFailed where Glance does not say."""


class Places:
    """All ways that a configuration allows."""

    def __init__(self, drivers: Drivers, glance: GlanceApi | None, order: Sequence[str]) -> None:
        """order: of the ways; see [glance] resolve. Raises UsageError where no way can lead anywhere."""
        self._drivers = drivers
        ways: Mapping[str, Way] = {CONVENTION: drivers.by_convention}
        if glance is not None:
            ways = {
                CONVENTION: drivers.by_convention,
                "locations": lambda image_id: self._known(glance.locations(image_id)),
                "direct_url": lambda image_id: self._known(glance.show(image_id).locations),
                "download": lambda image_id: [GlanceObject(glance, image_id)],
            }
        self.ways = {name: ways[name] for name in order if name in ways}
        by_convention = CONVENTION in self.ways and any(driver.kind in ("file", "rbd") for driver in drivers.all)
        if not by_convention and not self.ways.keys() - {CONVENTION}:
            raise UsageError(
                "bad-configuration",
                "nothing says where images are: configure a store of type file or rbd under [glance_store] stores or"
                " enabled_backends, or let Glance be asked ([glance] auth_type, resolve)",
            )

    def _known(self, locations: Iterable[ImageLocation]) -> Iterator[Place | UnknownStore]:
        for location in locations:
            found = list(self._drivers.at(location))
            yield from found
            if not found:
                yield UnknownStore(urlsplit(location.uri).scheme)
