"""Asking Glance for an image's record and its bytes. Its answers are bounded, and checked before they are used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from manifest_service.disks.limits import KIB, MIB
from manifest_service.errors import DownloadCode, DownloadFailed, UsageError

_TIMEOUT = (10, 60)
"""Seconds to connect, and between two parts of an answer."""
_LARGEST_RECORD = 1 * MIB
_AT_ONCE = 256 * KIB
_NO_RANGES = {
    HTTPStatus.BAD_REQUEST,  # Glance, of a store that it can only read from the beginning
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    HTTPStatus.NOT_IMPLEMENTED,
}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)")
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,64}")


class GlanceAway(DownloadFailed):
    """Glance did not answer, or its answer broke off: what may be otherwise when it is asked again."""

    def __init__(self, reason: str) -> None:
        super().__init__(DownloadCode.GLANCE_AWAY, reason)


@dataclass(frozen=True)
class ImageRecord:
    """What Glance records of an image. size: bytes of the source. checksums: of the source, algorithm → hex."""

    image_id: str
    disk_format: str | None = None
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageData:
    """An answer with an image's bytes.

    offset: of the first of them. is_framed: whether the answer says by itself where it ends. parts: raises GlanceAway
    where it breaks off.
    """

    offset: int
    is_framed: bool
    parts: Iterator[bytes]


class GlanceApi:
    """One Glance. Use it as a context manager: leaving it closes its connections."""

    def __init__(self, url: str, headers: Mapping[str, str], certificates: str | None = None) -> None:
        """url: of the image API, with or without /v2. headers: sent with each request, the token among them.

        certificates: file or folder of the authorities to trust; None for the usual ones. Raises UsageError.
        """
        self._url = url.rstrip("/").removesuffix("/v2")
        self._place = _place_of(url)
        self._session = requests.Session()
        # One connection a request, for servers that close those that are kept.
        self._session.headers.update({"Connection": "close", "Accept-Encoding": "identity", **headers})
        self._certificates = certificates or True

    def show(self, image_id: str) -> ImageRecord:
        """An image's record. Raises DownloadFailed."""
        with self._ask(f"/v2/images/{image_id}") as response:
            self._require(response, HTTPStatus.OK)
            body = bytearray()
            for part in self._parts(response):
                body += part
                if len(body) > _LARGEST_RECORD:
                    raise _bad_answer(f"the record of the image has more than {_LARGEST_RECORD} bytes")
        try:
            return _read_record(json.loads(body), image_id)
        except (ValueError, RecursionError):
            raise _bad_answer(f"{self._place} answered with something that is no record of the image") from None

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
            yield ImageData(offset, is_framed, self._parts(response))

    def _ask(self, path: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        try:
            return self._session.get(
                self._url + path,
                headers=headers,
                timeout=_TIMEOUT,
                stream=True,
                verify=self._certificates,
                allow_redirects=False,  # The token is for this host alone.
            )
        except OSError as error:  # All errors of requests, and what it passes on. Their words may quote the headers.
            raise GlanceAway(f"Glance cannot be asked at {self._place} ({type(error).__name__})") from error

    def _parts(self, response: requests.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_content(_AT_ONCE)
        except OSError as error:
            raise GlanceAway(f"the answer of {self._place} broke off ({type(error).__name__})") from error

    def _require(self, response: requests.Response, *allowed: HTTPStatus) -> None:
        status = response.status_code
        if status in allowed:
            return
        answered = f"{self._place} answered {status}"
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()


def _place_of(url: str) -> str:
    """Host and port, for messages: without the password that a URL may hold. Raises UsageError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise UsageError("bad-url", "the URL of Glance is none; http://HOST:PORT was expected")
    return f"{parts.hostname}:{port}" if port else parts.hostname


def _read_record(document: Any, image_id: str) -> ImageRecord:
    """Read what Glance says of an image. Raises ValueError for what cannot be."""
    if not isinstance(document, dict) or document.get("id") != image_id:
        raise ValueError("this is not the image's record")
    size = document.get("size")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError("the size is none")
    checksums = {}
    md5 = _take(document, "checksum", _HEX)
    algorithm, value = _take(document, "os_hash_algo", _WORD), _take(document, "os_hash_value", _HEX)
    if algorithm is not None and value is not None:
        checksums[algorithm] = value
    if md5 is not None:
        checksums["md5"] = md5
    return ImageRecord(image_id, _take(document, "disk_format", _WORD), size, checksums)


def _take(document: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} is none")
    return value


def _bad_answer(reason: str) -> DownloadFailed:
    return DownloadFailed(DownloadCode.BAD_ANSWER, reason)
