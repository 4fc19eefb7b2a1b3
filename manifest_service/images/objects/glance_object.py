"""An image's bytes through Glance's own download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from manifest_service.errors import ComputationFailed, DownloadCode, DownloadFailed, FailureCode
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.objects.stored_object import ObjectMissing, OpenedObject, StoreBroke


class GlanceObject:
    """`GET /v2/images/{id}/file`. Glance names no version of the bytes, and knows ranges where its store does."""

    kind = "glance"
    is_random = False

    def __init__(self, glance: GlanceApi, image_id: str) -> None:
        self._glance = glance
        self._image_id = image_id

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        with ExitStack() as stack:
            try:
                data = stack.enter_context(self._glance.open_data(self._image_id, offset))
            except DownloadFailed as error:
                raise as_store_error(error) from None
            return OpenedObject(data.offset, data.size, None, _parts(data.parts), stack.pop_all().close)


def _parts(parts: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from parts
    except DownloadFailed as error:
        raise as_store_error(error) from None


def as_store_error(error: DownloadFailed) -> Exception:
    """What an error of Glance's means to somebody who wants an image's bytes, or where they are."""
    match error.code:
        case DownloadCode.NOT_FOUND | DownloadCode.NO_DATA:
            return ObjectMissing()
        case DownloadCode.FORBIDDEN:
            return ComputationFailed(FailureCode.GLANCE_FORBIDDEN, error.reason, retriable=True)
        case _:
            return StoreBroke(error.reason)
