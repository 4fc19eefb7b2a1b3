"""glance_store's drivers, set up by the very sections that Glance itself reads (glance-api.conf).

Both forms are understood: one set of stores under `[glance_store]`, and `enabled_backends` with a section for each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import glance_store
import stevedore
from glance_store import exceptions
from glance_store import location as store_location
from oslo_config import cfg
from oslo_log import log

from manifest_service.config import is_configured
from manifest_service.errors import UsageError
from manifest_service.images.glance_record import ImageLocation
from manifest_service.images.objects.driver_object import DriverObject
from manifest_service.images.objects.http_object import HttpObject, HttpSettings
from manifest_service.images.objects.s3_object import S3Object
from manifest_service.images.objects.stored_object import StoredObject
from manifest_service.images.objects.swift_object import SwiftObject

LOG = log.getLogger(__name__)

Place = Path | StoredObject
"""Where an image's bytes may be: in a file, or in a store that is asked for them."""

_RBD_SNAPSHOT = "snap"
"""What Glance's rbd driver calls the snapshot that it takes of each image."""


@dataclass(frozen=True)
class Driver:
    """One store. name: under `enabled_backends`; None in the single form. group: its section. kind: as Glance says."""

    name: str | None
    group: str
    kind: str

    @property
    def label(self) -> str:
        """What an operator knows it by."""
        return self.name or self.kind


class Drivers:
    """All stores of a configuration. is_multiple: whether they are named in `enabled_backends`."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Set up glance_store as Glance does. Raises UsageError."""
        self._conf = conf
        self.is_multiple = bool(conf.enabled_backends)
        if self.is_multiple:
            loadable = {name: kind for name, kind in conf.enabled_backends.items() if _is_loadable(kind)}
            conf.set_override("enabled_backends", loadable)
            glance_store.register_store_opts(conf)
            self.all = tuple(Driver(name, name, kind) for name, kind in conf.enabled_backends.items())
        else:
            glance_store.register_opts(conf)
            _fill_embedded_default(conf)
            conf.set_override("stores", list(filter(_is_loadable, conf.glance_store.stores)), group="glance_store")
            self.all = tuple(Driver(None, "glance_store", kind) for kind in conf.glance_store.stores)
        try:
            if self.is_multiple:
                glance_store.create_multi_stores(conf)
            else:
                glance_store.create_stores(conf)
        except exceptions.GlanceStoreException as error:
            raise UsageError("bad-configuration", f"glance_store cannot be set up: {error}") from error

    def folders(self) -> Iterator[str]:
        """The folders of all file stores."""
        for driver in self.all:
            if driver.kind == "file":
                yield from _folders_of(self._conf, driver.group)

    def by_convention(self, image_id: str) -> Iterator[Place]:
        """Where the drivers of this configuration would have put an image, had they been given it by Glance."""
        for folder in self.folders():
            yield Path(folder) / image_id
        for driver in self.all:
            if driver.kind == "rbd":
                yield from self.at(ImageLocation(self._rbd_uri(driver, image_id), driver.name))

    def at(self, location: ImageLocation) -> Iterator[Place]:
        """What a location of Glance's means to the stores of this configuration; nothing where none knows it."""
        scheme = urlsplit(location.uri).scheme
        for driver in self.all:
            if driver.name is not None and location.backend not in (None, driver.name):
                continue
            info = self._registered(scheme, driver)
            if info is None:
                continue
            try:
                parsed = self._parse(location.uri, driver)
            # Its words quote the location, which is no secret of ours to tell.
            except Exception:  # noqa: S112  # nosec B112
                continue
            place = self._place(info["store"], driver, parsed)
            if place is not None:
                yield place

    def store_of(self, name: str | None, scheme: str) -> Any:
        """The driver itself, for what only tests and `try` do: storing an image."""
        driver = next(driver for driver in self.all if driver.name == name)
        info = self._registered(scheme, driver)
        return info["store"] if info else None

    def _place(self, store: Any, driver: Driver, parsed: Any) -> Place | None:
        match driver.kind:
            case "file":
                return self._allowed_file(parsed.store_location.path)
            case "http":
                settings = self._http_settings(driver)
                return HttpObject(parsed.store_location.get_uri(), settings)
            case "s3":
                return S3Object(store, parsed)
            case "swift":
                return SwiftObject(store, parsed, self._conf.limits.store_silence)
            case _:
                return DriverObject(driver.kind, store, parsed)

    def _allowed_file(self, path: str) -> Path | None:
        """A file in the folder of a file store; nothing else on this machine is an image, whatever Glance says."""
        found = os.path.realpath(path)
        folders = [os.path.realpath(folder) for folder in self.folders()]
        return Path(found) if any(os.path.commonpath([found, folder]) == folder for folder in folders) else None

    def _http_settings(self, driver: Driver) -> HttpSettings:
        options = self._conf[driver.group]
        return HttpSettings(
            verify=options.https_ca_certificates_file or not options.https_insecure,
            proxies=dict(options.http_proxy_information),
            silence=self._conf.limits.store_silence,
        )

    def _rbd_uri(self, driver: Driver, image_id: str) -> str:
        store = self.store_of(driver.name, "rbd")
        prefix = getattr(store, "url_prefix", None)
        # The single form knows no prefix until it has stored something; without one, the pool is the configured one.
        return f"{prefix}{image_id}/{_RBD_SNAPSHOT}" if prefix not in (None, "rbd://") else f"rbd://{image_id}"

    def _registered(self, scheme: str, driver: Driver) -> Mapping[str, Any] | None:
        """What glance_store has registered for a store; its tables are the process's, and may hold others' stores."""
        if driver.name is None:
            info = store_location.SCHEME_TO_CLS_MAP.get(scheme)
            if info is not None and info["store_entry"] != driver.kind:
                return None
        else:
            info = store_location.SCHEME_TO_CLS_BACKEND_MAP.get(scheme, {}).get(driver.name)
        return info if info is not None and info["store"].conf is self._conf else None

    def _parse(self, uri: str, driver: Driver) -> Any:
        if driver.name is None:
            return store_location.get_location_from_uri(uri, conf=self._conf)
        return store_location.get_location_from_uri_and_backend(uri, driver.name, conf=self._conf)


def _is_loadable(kind: str) -> bool:
    """Whether a driver's library is installed; glance_store would give up on all stores where one lacks."""
    try:
        stevedore.DriverManager("glance_store.drivers", kind)
    except Exception as error:  # What importing a strange module raises.
        LOG.warning("the store driver %r cannot be loaded (%s): images in such stores are not read there", kind, error)
        return False
    return True


def _folders_of(conf: cfg.ConfigOpts, group: str) -> tuple[str, ...]:
    """The folders of a file store; `filesystem_store_datadirs` gives each as PATH or PATH:PRIORITY."""
    several = conf[group].filesystem_store_datadirs or []
    if several:
        return tuple(folder.rsplit(":", 1)[0].strip() for folder in several)
    return (conf[group].filesystem_store_datadir,)


def _fill_embedded_default(conf: cfg.ConfigOpts) -> None:
    """Keep images in our own state folder where nobody configured a store; Glance's default folder is Glance's."""
    named = ("stores", "default_store", "filesystem_store_datadir", "filesystem_store_datadirs")
    if not is_configured(conf, "glance_store", *named):
        folder = Path(conf.state_path) / "images"
        conf.set_default("filesystem_store_datadir", str(folder), group="glance_store")
