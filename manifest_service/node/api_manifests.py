"""Manifests from the API, over HTTP. Its answers are bounded, and checked before they are used."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import requests
from urllib3.util import Retry

from manifest_service.digests.bmap import BlockMap
from manifest_service.digests.digest import Digest
from manifest_service.disks.limits import KIB, MIB
from manifest_service.errors import AccessCode, ManifestServiceError, UsageError
from manifest_service.node.access import ANONYMOUS, Access
from manifest_service.node.expectations import BadManifest, Expected, read_block_map, read_manifest
from manifest_service.node.timely_http import TimelyAdapter
from manifest_service.urls import place_of

KEYS_AT_ONCE = 500
"""Names in one lookup: the API takes 1,000 unless it is configured for less."""

MOST_OF_ONE_DISK = 1000
"""Images with one disk that the API tells of: as many as one page has, unless it is configured for more."""

_TIMEOUT = (5, 30)
"""Seconds to connect, and between two parts of an answer."""
_LONGEST_ANSWER = 120
"""Seconds that an answer may take from its first byte to its last."""
_LARGEST_MAP = 64 * MIB
_LARGEST_ANSWER = 256 * KIB
_PER_KEY = 16 * KIB
"""Bytes of an answer, and of a manifest in it: one has about 2 KiB, and much more if it has many warnings."""
_PER_STATEMENT = 64 * KIB
"""Bytes more where statements are asked for: one has about 3 KiB, and warnings in it, too."""
_AT_ONCE = 64 * 1024
_RETRIES = Retry(
    total=4,
    other=0,  # A certificate that does not verify will not do so soon.
    backoff_factor=0.5,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=None,  # Lookups are asked by POST and change nothing; reports carry ids, and count once.
    raise_on_status=False,
    respect_retry_after_header=False,  # It may say a day.
)


_REJECTED = {400, 413, 415, 422}


class ServiceAway(ManifestServiceError):
    """The API cannot be asked now."""


class Rejected(ManifestServiceError):
    """The API will never take what was sent: sending it again does not help."""


class ApiClient:
    """Asks one API, again and again for a while where it does not answer, and anew where it refuses a token."""

    def __init__(self, url: str, access: Access = ANONYMOUS) -> None:
        """url: as http://HOST:PORT. access: as whom to ask. Raises UsageError for a URL that is none."""
        self.url = url.rstrip("/")
        self._place = place_of(url, "the API")
        self._access = access
        self._session = requests.Session()
        self._session.verify = access.verify
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, TimelyAdapter(max_retries=_RETRIES))

    def get(self, path: str, accept: str, most: int) -> bytes | None:
        """The body of what is at `path`; None where there is nothing. Raises ServiceAway, or BadManifest.

        accept: the media type that is wanted. most: bytes of the body.
        """
        return self._ask("GET", path, most, {"Accept": accept})

    def stream(self, path: str, media_type: str) -> Iterator[bytes]:
        """The body of what is at `path`, of any length, part by part. Raises ServiceAway, Rejected, or BadManifest.

        Where it breaks off, that is ServiceAway: what came before is not to be used.
        """
        headers = {"Accept": media_type, "Accept-Encoding": "identity"}
        try:
            with self._open("GET", path, headers) as response:
                if response.status_code != requests.codes.ok:
                    self._require_success(response.status_code, self._read_body(response, _LARGEST_ANSWER))
                self._require_length_known(response, media_type)
                yield from response.iter_content(_AT_ONCE)
        except requests.RequestException as error:
            raise self._away(f"the answer of the API at {self._place} broke off", error) from error

    def post(self, path: str, body: Mapping[str, Any], most: int = _LARGEST_ANSWER) -> Any:
        """Send JSON, and read the answer as JSON. Raises ServiceAway, Rejected, or BadManifest.

        most: bytes of the answer.
        """
        answer = self._ask("POST", path, most, {}, json=body)
        if answer is None:
            raise ServiceAway("service-away", f"{self._place} knows nothing of {path}: is it a manifest-service?")
        return self._read_json(answer)

    def _ask(self, method: str, path: str, most: int, headers: Mapping[str, str], **options: Any) -> bytes | None:
        # Compressed, a short answer could be a long one.
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            with self._open(method, path, headers, **options) as response:
                body = self._read_body(response, most)
                status = response.status_code
        except requests.RequestException as error:
            raise self._away(f"the API at {self._place} cannot be asked", error) from error
        if status in (404, 410) and method == "GET":
            return None
        self._require_success(status, body)
        return body

    def _open(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
        """Begin to ask; once more with another token, if the API refuses the first."""
        response = self._send(method, path, headers, **options)
        if response.status_code == requests.codes.unauthorized and self._access.renew():
            response.close()
            response = self._send(method, path, headers, **options)
        return response

    def _send(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
        return self._session.request(
            method,
            self.url + path,
            headers={**headers, **self._access.headers()},
            timeout=_TIMEOUT,
            stream=True,
            allow_redirects=False,
            **options,
        )

    def _away(self, what: str, error: Exception) -> ManifestServiceError:
        if isinstance(error, requests.exceptions.SSLError):
            return UsageError(
                AccessCode.BAD_CERTIFICATE, f"the certificate of the API at {self._place} does not verify"
            )
        return ServiceAway("service-away", f"{what} ({type(error).__name__})")

    def _require_success(self, status: int, body: bytes) -> None:
        if status == requests.codes.unauthorized:
            raise UsageError(
                AccessCode.NOT_AUTHENTICATED, f"the API at {self._place} wants another token ({status}{_code_of(body)})"
            )
        if status == requests.codes.forbidden:
            raise UsageError(
                AccessCode.NOT_ALLOWED, f"the API at {self._place} does not allow it ({status}{_code_of(body)})"
            )
        if status in _REJECTED:
            raise Rejected("rejected", f"the API at {self._place} does not take it ({status}{_code_of(body)})")
        if not 200 <= status < 300:
            raise ServiceAway("service-away", f"the API at {self._place} answered {status}{_code_of(body)}")

    def _require_length_known(self, response: requests.Response, media_type: str) -> None:
        """See that an answer is what was asked for, and that its end can be told from a connection that broke off."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BadManifest(f"the API at {self._place} answered in an encoding that nobody asked for")
        if response.headers.get("Content-Type", "").partition(";")[0].strip() != media_type:
            raise BadManifest(f"the API at {self._place} answered with something that is not {media_type}")
        if "chunked" not in response.headers.get("Transfer-Encoding", "") and "Content-Length" not in response.headers:
            raise BadManifest(f"the API at {self._place} answered without saying where the answer ends: by HTTP/1.0?")

    def _read_body(self, response: requests.Response, most: int) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BadManifest(f"the API at {self._place} answered in an encoding that nobody asked for")
        deadline = time.monotonic() + _LONGEST_ANSWER
        body = bytearray()
        for part in response.iter_content(_AT_ONCE):
            body += part
            if len(body) > most:
                raise BadManifest(f"the API at {self._place} answered more than {most} bytes")
            if time.monotonic() > deadline:
                raise ServiceAway("service-away", f"the API at {self._place} answers too slowly")
        return bytes(body)

    def _read_json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadManifest(f"the API at {self._place} answered with something that is not JSON") from error


class ApiManifests:
    """Manifests as the API gives them."""

    def __init__(self, client: ApiClient, *, with_statements: bool = False) -> None:
        """with_statements: whether each manifest is to come with its signed statement."""
        self._client = client
        self._with_statements = with_statements

    def find_by_cache_names(self, cache_names: Iterable[str]) -> Mapping[str, Expected]:
        found: dict[str, Expected] = {}
        for names in _parts(cache_names, KEYS_AT_ONCE):
            answered = {expected.cache_name: expected for expected in self._look_up({"cache_names": names}, len(names))}
            found |= {name: answered[name] for name in names if name in answered}
        return found

    def find_by_digest(self, digest: Digest) -> Expected | None:
        found = self._look_up({"digests": [str(digest)]}, MOST_OF_ONE_DISK)
        current = [expected for expected in found if expected.status == "ready"]
        return next(iter([*current, *found]), None)

    def block_map(self, expected: Expected) -> BlockMap | None:
        if not expected.has_block_map:
            return None
        body = self._client.get(f"/v1/manifests/{expected.image_id}/bmap", "application/xml", _LARGEST_MAP)
        if body is None:
            return None
        return read_block_map(expected, body)

    def _look_up(self, keys: Mapping[str, Sequence[str]], count: int) -> list[Expected]:
        """count: of the manifests that may be answered at most."""
        body: dict[str, object] = dict(keys)
        per_key = _PER_KEY
        if self._with_statements:
            body["statements"] = True
            per_key += _PER_STATEMENT
        answer = self._client.post("/v1/lookups", body, _LARGEST_ANSWER + count * per_key)
        manifests = answer.get("manifests") if isinstance(answer, dict) else None
        if not isinstance(manifests, list):
            raise BadManifest("the API answered a lookup with something that has no list of manifests")
        return [read_manifest(each) for each in manifests]


def _parts(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(sorted(set(names)))
    while part := list(islice(rest, size)):
        yield part


def _code_of(body: bytes) -> str:
    """The code of a problem document, for a message; nothing where it is none."""
    try:
        code = json.loads(body)["code"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return ""
    return f" ({code})" if isinstance(code, str) and code.replace("-", "").isalnum() and code.isascii() else ""
