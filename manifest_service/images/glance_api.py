"""Asking Glance for an image's record and its bytes. Its answers are bounded, and checked before they are used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import requests

from manifest_service.disks.limits import KIB, MIB
from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.images.glance_connection import GlanceAway, GlanceConnection
from manifest_service.images.glance_record import ImageLocation, ImageRecord, read_locations, read_record

_LARGEST_RECORD = 1 * MIB
_AT_ONCE = 256 * KIB
_NO_RANGES = {
    HTTPStatus.BAD_REQUEST,  # Glance, of a store that it can only read from the beginning
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    HTTPStatus.NOT_IMPLEMENTED,
}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)")


@dataclass(frozen=True)
class ImageData:
    """An answer with an image's bytes.

    offset: of the first of them. size: bytes of the whole image, where the answer says it. is_framed: whether the
    answer says by itself where it ends. parts: raises GlanceAway where it breaks off.
    """

    offset: int
    size: int | None
    is_framed: bool
    parts: Iterator[bytes]


class AnswerTooLarge(DownloadFailed):
    """Glance answered more than was to be read."""

    def __init__(self, most: int) -> None:
        super().__init__(DownloadCode.BAD_ANSWER, f"the answer has more than {most} bytes")


class GlanceApi:
    """One Glance. Use it as a context manager, or close it: that closes its connections."""

    def __init__(self, connection: GlanceConnection) -> None:
        """connection: the way to it, with the authentication that it wants."""
        self._connection = connection

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return self._connection.place

    def show(self, image_id: str) -> ImageRecord:
        """An image's record. Raises DownloadFailed."""
        document = self.get_document(f"/v2/images/{image_id}", _LARGEST_RECORD)
        try:
            return read_record(document, image_id)
        except ValueError:
            raise _bad_answer(f"{self.place} answered with something that is no record of the image") from None

    def locations(self, image_id: str) -> tuple[ImageLocation, ...]:
        """Where an image's bytes are, for whoever has the role `service` or `admin`. Raises DownloadFailed."""
        document = self.get_document(f"/v2/images/{image_id}/locations", _LARGEST_RECORD)
        try:
            return tuple(read_locations(document))
        except ValueError:
            raise _bad_answer(f"{self.place} answered with something that is no list of locations") from None

    def get_document(self, path: str, most: int) -> Any:
        """What Glance answers to a GET, read as JSON.

        path: from /v2 on, with the query. most: bytes that the answer may have. Raises DownloadFailed.
        """
        with self._ask(path) as response:
            self._require(response, HTTPStatus.OK)
            body = bytearray()
            for part in self._parts(response):
                body += part
                if len(body) > most:
                    raise AnswerTooLarge(most)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise _bad_answer(f"{self.place} answered with something that is no JSON") from None

    @contextmanager
    def open_data(self, image_id: str, offset: int) -> Iterator[ImageData]:
        """The image's bytes from `offset` on, or from the first one, where Glance cannot do otherwise.

        Raises DownloadFailed.
        """
        path = f"/v2/images/{image_id}/file"
        response = self._ask(path, {"Range": f"bytes={offset}-"} if offset else {})
        if offset and response.status_code in _NO_RANGES:
            response.close()
            offset = 0
            response = self._ask(path)
        with response:
            self._require(response, *([HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT] if offset else [HTTPStatus.OK]))
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _bad_answer("the image's bytes came encoded, which nobody asked for")
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
                if found is None or int(found[1]) != offset:
                    raise _bad_answer(f"the bytes from {offset} on were asked for, and others came")
            else:
                offset = 0
            is_framed = any(name in response.headers for name in ("Content-Length", "Transfer-Encoding"))
            length = response.headers.get("Content-Length", "")
            size = offset + int(length) if length.isdecimal() else None
            yield ImageData(offset, size, is_framed, self._parts(response))

    def _ask(self, path: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        return self._connection.get(path, headers or {})

    def _parts(self, response: requests.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_content(_AT_ONCE)
        except OSError as error:
            raise GlanceAway(f"the answer of {self.place} broke off ({type(error).__name__})") from error

    def _require(self, response: requests.Response, *allowed: HTTPStatus) -> None:
        status = response.status_code
        if status in allowed:
            return
        answered = f"{self.place} answered {status}"
        match status:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                raise DownloadFailed(DownloadCode.FORBIDDEN, f"{answered}: this token may not have the image")
            case HTTPStatus.NOT_FOUND:
                raise DownloadFailed(DownloadCode.NOT_FOUND, f"{answered}: it knows no such image, or hides it")
            case HTTPStatus.NO_CONTENT:
                raise DownloadFailed(DownloadCode.NO_DATA, f"{answered}: it has no data of the image")
            case HTTPStatus.TOO_MANY_REQUESTS:
                raise GlanceAway(answered)
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise GlanceAway(answered)
            case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                raise _bad_answer(f"{answered}, which leads elsewhere and is not followed")
            case _:
                raise _bad_answer(answered)

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bad_answer(reason: str) -> DownloadFailed:
    return DownloadFailed(DownloadCode.BAD_ANSWER, reason)
