"""An object in S3. glance_store's driver reads it from the first byte only; S3 itself gives any range of it."""

from __future__ import annotations

from typing import Any

from manifest_service.images.objects.stored_object import (
    AT_ONCE,
    OpenedObject,
    parts_of,
    placed,
    range_header,
    store_errors,
)


class S3Object:
    """Read with the client that the driver makes from its options; the location's own credentials are not used."""

    kind = "s3"
    is_random = True

    def __init__(self, store: Any, location: Any) -> None:
        """store: glance_store's driver. location: what it has read from the URI."""
        self._store = store
        self._location = location
        self._client: Any = None

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        arguments = range_header(offset, length)
        if mark is not None:
            arguments["IfMatch"] = mark
        with store_errors(self.kind, _status_of):
            if self._client is None:
                # A client takes a tenth of a second to make, and threads may share it.
                self._client = self._store._create_s3_client()  # The driver offers no other way.
            location = self._location.store_location
            answer = self._client.get_object(Bucket=location.bucket, Key=location.key, **arguments)
            begin, size = placed(answer.get("ContentRange"), answer["ContentLength"])
        body = answer["Body"]
        parts = parts_of(self.kind, body.iter_chunks(AT_ONCE), _status_of)
        return OpenedObject(begin, size, answer.get("ETag"), parts, body.close)


def _status_of(error: Exception) -> int | None:
    """The status in botocore's ClientError."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None
