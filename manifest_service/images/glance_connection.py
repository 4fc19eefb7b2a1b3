"""How requests reach Glance: by a URL and headers of the caller's own. With Keystone, see `glance_session`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import requests

from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.urls import place_of

CONNECT_TIMEOUT = 10.0
SILENCE = 60.0
"""Seconds to connect, and between two parts of an answer."""


class GlanceAway(DownloadFailed):
    """Glance did not answer, or its answer broke off: what may be otherwise when it is asked again."""

    def __init__(self, reason: str) -> None:
        super().__init__(DownloadCode.GLANCE_AWAY, reason)


class GlanceConnection(Protocol):
    """A way to one Glance."""

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        ...

    def get(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        """Begin a GET of `path`, which begins with /v2; the answer's body is still to be read.

        Redirects are not followed: the token is for this host alone. Raises DownloadFailed.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class UrlConnection:
    """Glance at a URL, with headers that the caller knows, the token among them."""

    def __init__(
        self, url: str, headers: Mapping[str, str], certificates: bool | str = True, silence: float = SILENCE
    ) -> None:
        """url: of the image API, with or without /v2. headers: sent with each request.

        certificates: file or folder of the authorities to trust; True for the usual ones. silence: seconds between two
        parts of an answer after which it counts as broken. Raises UsageError.
        """
        self._url = without_version(url)
        self.place = place_of(url, "Glance")
        self._timeout = (CONNECT_TIMEOUT, silence)
        self._session = requests.Session()
        # One connection a request, for servers that close those that are kept.
        self._session.headers.update({"Connection": "close", "Accept-Encoding": "identity", **headers})
        self._certificates = certificates

    def get(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        try:
            return self._session.get(
                self._url + path,
                headers=headers,
                timeout=self._timeout,
                stream=True,
                verify=self._certificates,
                allow_redirects=False,
            )
        except OSError as error:  # All errors of requests, and what it passes on. Their words may quote the headers.
            raise not_asked(self.place, error) from error

    def close(self) -> None:
        self._session.close()


def not_asked(place: str, error: Exception) -> GlanceAway:
    """That Glance could not be asked, without the error's own words."""
    return GlanceAway(f"Glance cannot be asked at {place} ({type(error).__name__})")


def without_version(url: str) -> str:
    """The URL that paths beginning with /v2 go behind."""
    return url.rstrip("/").removesuffix("/v2")
