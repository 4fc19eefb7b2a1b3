"""Asking the API over HTTP, for `try` and `demo`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import requests

from manifest_service.errors import AccessCode, ManifestServiceError, UsageError
from manifest_service.images.stores import StoredImage
from manifest_service.node.access import ANONYMOUS, Access

TIMEOUT = 60.0
"""Seconds for one request; the API answers from an index."""
LONGEST_PAUSE = 1.0
"""Seconds between two looks at a manifest in the making, whatever Retry-After says: a person is waiting."""


class ApiClient:
    """One API by its base URL."""

    def __init__(self, url: str, access: Access = ANONYMOUS) -> None:
        """access: as whom to ask."""
        self.url = url.rstrip("/")
        self._access = access

    def require_answer(self) -> None:
        """Raise UsageError where no API answers."""
        self._request("GET", "/")

    def ask_for_computation(self, image_id: str, name: str, disk_format: str, stored: StoredImage) -> None:
        """Announce an image that has been stored, as an operator may. Raises UsageError or ManifestServiceError."""
        image = {"name": name, "disk_format": disk_format, "container_format": "bare", **asdict(stored)}
        self._request("POST", f"/v1/manifests/{image_id}/computations", json={"image": image})

    def get_manifest(self, image_id: str) -> tuple[bool, dict[str, Any]]:
        """Whether an image's manifest is final, and the manifest."""
        response = self._request("GET", f"/v1/manifests/{image_id}")
        try:
            manifest = response.json()
            if manifest["image_id"] == image_id:
                return response.status_code != requests.codes.accepted, manifest
        except (ValueError, KeyError, TypeError):
            pass
        raise ManifestServiceError("bad-answer", f"{self.url} answered with something that is not the image's manifest")

    def wait_for_manifest(
        self, image_id: str, timeout: float, progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Wait until an image's manifest is final. timeout: seconds. Raises UsageError when they are over.

        progress: called with the manifest at each look.
        """
        deadline = time.monotonic() + timeout
        pause = 0.05
        while True:
            try:
                final, manifest = self.get_manifest(image_id)
            except ManifestServiceError as error:
                if error.code != "not-found":
                    raise
                final, manifest = False, {}
            if final:
                return manifest
            if progress is not None and manifest:
                progress(manifest)
            if time.monotonic() > deadline:
                reason = f"the manifest of {image_id} is not final after {timeout:.0f} seconds"
                raise UsageError("timeout", f"{reason}; it may still become so")
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _request(self, method: str, path: str, json: object = None) -> requests.Response:
        try:
            response = requests.request(
                method,
                self.url + path,
                json=json,
                headers=dict(self._access.headers()),
                verify=self._access.verify,
                timeout=TIMEOUT,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            raise UsageError("bad-url", "the URL of the API is none; http://HOST:PORT was expected") from None
        except requests.exceptions.SSLError:
            raise UsageError(AccessCode.BAD_CERTIFICATE, "the certificate of the API does not verify") from None
        except requests.RequestException as error:
            place = urlsplit(self.url)  # without the password that it may hold
            raise UsageError(
                "service-away",
                f"nothing answers at {place.hostname}, port {place.port} ({type(error).__name__});"
                " start `manifest-service serve`",
            ) from error
        if response.ok:
            return response
        try:
            problem = response.json()
            raise ManifestServiceError(str(problem["code"]), str(problem["detail"]))
        except (ValueError, KeyError, TypeError):
            reason = f"{self.url} answered {response.status_code} with something that is no problem document"
            raise ManifestServiceError("bad-answer", reason) from None
