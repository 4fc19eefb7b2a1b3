"""Glance's stores, configured by the very sections that Glance itself reads (glance-api.conf).

Both forms are understood: one set of stores under `[glance_store]`, and `enabled_backends` with a section for each.
A notification never says where the data lies, so an image is looked for where Glance's file driver puts it:
`file://DATADIR/IMAGE_ID`, in each file store and each of its folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import glance_store
from glance_store import exceptions as store_exceptions
from glance_store import location as store_location
from glance_store import multi_backend
from oslo_config import cfg

from manifest_service.config import is_configured
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, FailureCode, UsageError

HASH_ALGORITHM = "sha512"
"""Glance's own default for os_hash_algo."""


@dataclass(frozen=True)
class StoredImage:
    """What glance_store says of bytes that it has just stored. size in bytes; checksum is MD5, in hex."""

    size: int
    checksum: str
    os_hash_algo: str
    os_hash_value: str


@dataclass(frozen=True)
class _FileStore:
    """One file store: its name under `enabled_backends` (None for the single form), and the folders it keeps."""

    backend: str | None
    folders: tuple[str, ...]


class ImageStores:
    """The stores that hold the images' sources. Read-only, except for `add`, which plays Glance."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Set up glance_store as Glance does. Raises UsageError where the configuration names no file store."""
        self._conf = conf
        self._multiple = bool(conf.enabled_backends)
        if self._multiple:
            glance_store.register_store_opts(conf)
            names = [name for name, kind in conf.enabled_backends.items() if kind == "file"]
            self._file_stores = [_FileStore(name, _folders_of(conf, name)) for name in names]
        else:
            glance_store.register_opts(conf)
            _fill_embedded_default(conf)
            self._file_stores = []
            if "file" in conf.glance_store.stores:
                self._file_stores.append(_FileStore(None, _folders_of(conf, "glance_store")))
        if not self._file_stores:
            raise UsageError(
                "bad-configuration",
                "no store of type file is configured under [glance_store] stores or enabled_backends,"
                " and other types are not read yet",
            )
        try:
            if self._multiple:
                glance_store.create_multi_stores(conf)
            else:
                glance_store.create_stores(conf)
        except store_exceptions.GlanceStoreException as error:
            raise UsageError("bad-configuration", f"glance_store cannot be set up: {error}") from error

    def open(self, image_id: str) -> FileSource:
        """Open an image's source, in the first store that has it.

        Raises ComputationFailed: source-not-found (Glance may not have finished, or this is another Glance's image), or
        source-unreadable.
        """
        for path in self._paths(image_id):
            try:
                return FileSource.open(path)
            except ComputationFailed as error:
                if error.code != FailureCode.SOURCE_NOT_FOUND:
                    raise
        names = ", ".join(store.backend or "file" for store in self._file_stores)
        raise ComputationFailed(
            FailureCode.SOURCE_NOT_FOUND, f"no configured store holds the image (looked in: {names})", retriable=True
        )

    def add(self, image_id: str, data: BinaryIO, size: int) -> StoredImage:
        """Store an image's bytes as Glance would, in the default store. Raises UsageError where that fails."""
        try:
            if self._multiple:
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
        for path in self._paths(image_id):
            Path(path).unlink(missing_ok=True)

    def _default_store(self) -> Any:
        """The driver of [glance_store] default_backend.

        Found here, since glance_store itself looks for it in oslo.config's global configuration, which we do not use.
        """
        named = self._conf.glance_store.default_backend
        if self._conf.enabled_backends.get(named) != "file":
            raise UsageError(
                "bad-configuration", f"[glance_store] default_backend is {named!r}, no file store of enabled_backends"
            )
        return store_location.SCHEME_TO_CLS_BACKEND_MAP["file"][named]["store"]

    def _paths(self, image_id: str) -> Iterator[str]:
        for store in self._file_stores:
            for folder in store.folders:
                uri = f"file://{folder}/{image_id}"
                if store.backend is None:
                    location = store_location.get_location_from_uri(uri, conf=self._conf)
                else:
                    location = store_location.get_location_from_uri_and_backend(uri, store.backend, conf=self._conf)
                yield location.store_location.path


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
