"""An image in any other store of glance_store (rbd, cinder, vmware), as its driver gives it."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from glance_store import capabilities, exceptions

from manifest_service.images.objects.stored_object import OpenedObject, parts_of, store_errors


class DriverObject:
    """What `get` of the driver gives. It has no mark: a driver tells nothing of versions.

    Of those in glance_store 5, only that of cinder begins elsewhere than at the first byte. It attaches the volume for
    each `get`, so that single ranges of it are anything but cheap.
    """

    is_random = False

    def __init__(self, kind: str, store: Any, location: Any) -> None:
        """store: the driver. location: what it has read from the URI."""
        self.kind = kind
        self._store = store
        self.location = location

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        arguments = {}
        if offset and self._store.is_capable(capabilities.BitMasks.READ_OFFSET):
            arguments["offset"] = offset
        with store_errors(self.kind, _status_of):
            # Without a chunk_size: the size that comes back would be that, and not the image's.
            data, size = self._store.get(self.location, **arguments)
            parts: Iterator[bytes] = iter(data)
        return OpenedObject(
            arguments.get("offset", 0), size or None, None, parts_of(self.kind, parts, _status_of), _closer(data, parts)
        )


def _closer(data: Any, parts: Any) -> Any:
    """What lets go of an answer: a generator ends where it waits, and so detaches a volume, say."""

    def close() -> None:
        for each in (parts, data):
            if hasattr(each, "close"):
                each.close()

    return close


def _status_of(error: Exception) -> int | None:
    return HTTPStatus.NOT_FOUND if isinstance(error, exceptions.NotFound) else None
