"""An object in Swift. glance_store's driver reads it from the first byte only; Swift itself gives any range of it."""

from __future__ import annotations

from typing import Any

from manifest_service.images.objects.stored_object import (
    AT_ONCE,
    OpenedObject,
    header,
    parts_of,
    placed,
    range_header,
    store_errors,
)


class SwiftObject:
    """Read with a connection that the driver makes of a location. Large objects in segments are one to Swift, too."""

    kind = "swift"
    is_random = True

    def __init__(self, store: Any, location: Any, silence: float) -> None:
        """store: glance_store's driver. location: what it has read from the URI. silence: seconds without a byte."""
        self._store = store
        self._location = location.store_location
        self._silence = silence
        self._connection: Any = None

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        headers = range_header(offset, length)
        if mark is not None:
            headers["If-Match"] = mark
        connection, self._connection = self._connection, None
        with store_errors(self.kind, _status_of):
            connection = connection or self._connect()
            said, body = connection.get_object(
                self._location.container, self._location.obj, resp_chunk_size=AT_ONCE, headers=headers
            )
            begin, size = placed(header(said, "content-range"), header(said, "content-length"))
        self._connection = connection  # Only one that answered is kept: a token may have run out.
        return OpenedObject(begin, size, header(said, "etag"), parts_of(self.kind, body, _status_of), body.close)

    def _connect(self) -> Any:
        connection = self._store.get_connection(self._location)
        # swiftclient's own retries go on with a range at a place counted from its beginning, not the object's.
        connection.retries = 0
        connection.timeout = self._silence
        return connection


def _status_of(error: Exception) -> int | None:
    """The status in swiftclient's ClientException."""
    status = getattr(error, "http_status", None)
    return status if isinstance(status, int) and status else None
