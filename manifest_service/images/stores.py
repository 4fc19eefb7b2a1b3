"""The images' sources, in whatever stores Glance keeps them, opened for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import glance_store
from glance_store import exceptions as store_exceptions
from glance_store import multi_backend
from oslo_config import cfg
from oslo_log import log

from manifest_service.config import scratch_folder
from manifest_service.disks.source import FileSource, StoredSource
from manifest_service.errors import ComputationFailed, DownloadFailed, FailureCode, UsageError
from manifest_service.images.drivers import Drivers, Place
from manifest_service.images.glance_hashes import GlanceHashes
from manifest_service.images.glance_session import make_glance_api
from manifest_service.images.objects.glance_object import as_store_error
from manifest_service.images.objects.stored_object import ObjectMissing, StoreBroke
from manifest_service.images.places import Places, UnknownStore
from manifest_service.images.streams.forward import NOTHING_RECORDED, Recorded
from manifest_service.images.streams.patience import Patience, no_tick
from manifest_service.images.streams.spool import SpoolSettings
from manifest_service.images.streams.stream import StreamSettings, StreamSource

LOG = log.getLogger(__name__)

HASH_ALGORITHM = "sha512"
"""Glance's own default for os_hash_algo."""


@dataclass(frozen=True)
class StoredImage:
    """What glance_store says of bytes that it has just stored. size in bytes; checksum is MD5, in hex."""

    size: int
    checksum: str
    os_hash_algo: str
    os_hash_value: str


class ImageStores:
    """The stores that hold the images' sources. Read-only, except for `add`, which plays Glance."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Set up glance_store and the way to Glance. Raises UsageError where no way leads to any image."""
        self._conf = conf
        self.drivers = Drivers(conf)
        glance = make_glance_api(conf)
        self._hashes = GlanceHashes(glance)
        self._places = Places(self.drivers, glance, conf.glance.resolve)
        limits = conf.limits
        self._settings = StreamSettings(
            window=limits.stream_window,
            patience=Patience(limits.store_silence, limits.store_pause),
            spool=SpoolSettings(str(scratch_folder(conf)), limits.scratch_size, limits.scratch_reserve),
        )

    def open(
        self, image_id: str, recorded: Recorded = NOTHING_RECORDED, tick: Callable[[], None] = no_tick
    ) -> StoredSource:
        """Open an image's source, in the first place that has it.

        recorded: what Glance records of it. tick: called several times a second while a store is waited for; what it
        raises is passed on.
        Raises ComputationFailed: source-not-found (Glance may not have finished, or this is another Glance's image),
        store-unsupported, or what was wrong with the last place that could not be read.
        """
        search = _Search()
        for way, place in self._find(image_id, search):
            try:
                return self._open(place, way, recorded, tick)
            except ObjectMissing:
                continue
            except ComputationFailed as error:
                search.note(error)
                LOG.info("image %s is not read as [glance] resolve %s says: %s", image_id, way, error)
        raise search.failure or self._not_found(search)

    def more_checksums(self, image_id: str, tick: Callable[[], None] = no_tick) -> Mapping[str, str]:
        """Checksums that Glance records of an image's source, algorithm → hex; none where Glance cannot be asked.

        Raises ComputationFailed where Glance does not answer, or has not finished.
        """
        return self._hashes.of(image_id, tick)

    def add(self, image_id: str, data: BinaryIO, size: int) -> StoredImage:
        """Store an image's bytes as Glance would, in the default store. Raises UsageError where that fails."""
        try:
            if self.drivers.is_multiple:
                _, stored, checksum, value, _ = multi_backend.store_add_to_backend_with_multihash(
                    image_id, data, size, HASH_ALGORITHM, self._default_store()
                )
            else:
                _, stored, checksum, value, _ = glance_store.add_to_backend_with_multihash(
                    self._conf, image_id, data, size, HASH_ALGORITHM
                )
        except (store_exceptions.GlanceStoreException, OSError) as error:
            raise UsageError("store-failed", f"the default store did not take the image: {error}") from error
        return StoredImage(stored, checksum, HASH_ALGORITHM, value)

    def remove(self, image_id: str) -> None:
        """Take out again what `add` has stored."""
        for folder in self.drivers.folders():
            (Path(folder) / image_id).unlink(missing_ok=True)

    def _find(self, image_id: str, search: _Search) -> Iterator[tuple[str, Place]]:
        """The places of an image, way by way; what stood in the way is noted in `search`."""
        for name, way in self._places.ways.items():
            try:
                for place in way(image_id):
                    if isinstance(place, UnknownStore):
                        search.unknown.add(place.scheme)
                    else:
                        yield name, place
            except DownloadFailed as error:
                LOG.info("image %s: no answer by [glance] resolve %s: %s", image_id, name, error)
                meant = as_store_error(error)
                if isinstance(meant, StoreBroke):
                    meant = ComputationFailed(FailureCode.GLANCE_AWAY, error.reason, retriable=True)
                if isinstance(meant, ComputationFailed):
                    search.note(meant)

    def _open(self, place: Place, way: str, recorded: Recorded, tick: Callable[[], None]) -> StoredSource:
        source: StoredSource
        if isinstance(place, Path):
            try:
                source = FileSource.open(place)
            except ComputationFailed as error:
                if error.code == FailureCode.SOURCE_NOT_FOUND:
                    raise ObjectMissing from error
                raise
        else:
            patience = replace(self._settings.patience, tick=tick)
            source = StreamSource(place, recorded, replace(self._settings, patience=patience))
        source.read_from = f"{source.read_from} ({way})"
        return source

    def _not_found(self, search: _Search) -> ComputationFailed:
        if search.unknown:
            return ComputationFailed(
                FailureCode.STORE_UNSUPPORTED,
                f"Glance keeps the image in a store that is not configured here: {', '.join(sorted(search.unknown))}",
                retriable=True,
            )
        names = ", ".join(driver.label for driver in self.drivers.all)
        ways = ", ".join(self._places.ways)
        return ComputationFailed(
            FailureCode.SOURCE_NOT_FOUND,
            f"no configured store holds the image (looked in: {names}; by: {ways})",
            retriable=True,
        )

    def _default_store(self) -> Any:
        """The driver of [glance_store] default_backend.

        Found here, since glance_store itself looks for it in oslo.config's global configuration, which we do not use.
        """
        named = self._conf.glance_store.default_backend
        if self._conf.enabled_backends.get(named) != "file":
            raise UsageError(
                "bad-configuration", f"[glance_store] default_backend is {named!r}, no file store of enabled_backends"
            )
        return self.drivers.store_of(named, "file")


class _Search:
    """What was found on the way to an image.

    failure: what was wrong with a place or a way, the last one that was. unknown: schemes of stores that Glance names.
    """

    def __init__(self) -> None:
        self.failure: ComputationFailed | None = None
        self.unknown: set[str] = set()

    def note(self, error: ComputationFailed) -> None:
        """Take note of an error. One way may be closed on purpose (no role `service`), so each is tried."""
        self.failure = error
