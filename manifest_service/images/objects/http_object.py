"""An image on a web server. glance_store's driver knows neither ranges nor a limit to silence; web servers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import requests

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.images.glance_connection import CONNECT_TIMEOUT
from manifest_service.images.objects.stored_object import (
    AT_ONCE,
    ObjectChanged,
    ObjectMissing,
    OpenedObject,
    StoreBroke,
    parts_of,
    placed,
    range_header,
    store_errors,
)

_REDIRECTS = 5
"""As many as the driver follows."""


@dataclass(frozen=True)
class HttpSettings:
    """The driver's options. verify: a file of authorities, or whether to trust only known ones. silence: in seconds."""

    verify: str | bool = True
    proxies: Mapping[str, str] = field(default_factory=dict)
    silence: float = 60.0


class HttpObject:
    """A URL. Its mark is the ETag, if that is a strong one: the time of its last change counts whole seconds only."""

    kind = "http"

    def __init__(self, url: str, settings: HttpSettings) -> None:
        self._url = url
        self._settings = settings
        self._session = requests.Session()
        self._session.max_redirects = _REDIRECTS
        self.is_random = False

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        headers = {"Accept-Encoding": "identity", "Connection": "close", **range_header(offset, length)}
        with store_errors(self.kind, _status_of):
            response = self._get(headers)
        try:
            if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise ObjectChanged
            _require_data(response)
            found = _mark_of(response)
            if mark is not None and found != mark:
                raise ObjectChanged
            begin, size = placed(response.headers.get("Content-Range"), response.headers.get("Content-Length"))
        except BaseException:
            response.close()
            raise
        self.is_random = response.headers.get("Accept-Ranges") == "bytes"
        parts = parts_of(self.kind, response.iter_content(AT_ONCE), _status_of)
        return OpenedObject(begin, size, found, parts, response.close)

    def _get(self, headers: Mapping[str, str]) -> requests.Response:
        settings = self._settings
        return self._session.get(
            self._url,
            headers=headers,
            timeout=(CONNECT_TIMEOUT, settings.silence),
            stream=True,
            verify=settings.verify,
            proxies=dict(settings.proxies),
        )


def _require_data(response: requests.Response) -> None:
    status = response.status_code
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise ObjectMissing
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise StoreBroke(f"the http store answered {status}")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise ComputationFailed(
            FailureCode.SOURCE_UNREADABLE, f"the web server of the image's location answered {status}", retriable=True
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise StoreBroke("the http store sent the bytes encoded, which nobody asked for")


def _mark_of(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def _status_of(error: Exception) -> int | None:
    return None
