"""What a file should be: the manifest of its image, from whoever keeps it; checked before it is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from manifest_service.digests.bmap import BlockMap
from manifest_service.digests.digest import Digest
from manifest_service.errors import ManifestServiceError

Value = TypeVar("Value")

READY = "ready"
DELETED = "deleted"
UNFINISHED = frozenset({"pending", "computing"})
UNSIGNED = "unsigned"
"""Only of those who ask for signed statements: a manifest without one."""
UNTRUSTED = "untrusted"
"""Only of those who ask for signed statements: a manifest whose statement does not verify, or is of another image."""

MAX_SIZE = 2**63 - 1
MAX_TEXT = 1000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,63}")


class BadManifest(ManifestServiceError):
    """Somebody gave a manifest that is none."""

    def __init__(self, reason: str) -> None:
        super().__init__("bad-manifest", reason)


@dataclass(frozen=True)
class Expected:
    """The manifest of one image, as far as a node needs it. Sizes in bytes, digests as algorithm → hex.

    reason: why it is not believed. statement: its signed statement as it came, a DSSE envelope, not yet looked at.
    block_map_sha256: what its block map hashes to, where that was signed.
    """

    image_id: str
    cache_name: str
    status: str
    revision: int = 1
    name: str | None = None
    code: str | None = None
    virtual_size: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    source_size: int | None = None
    source_checksums: Mapping[str, str] = field(default_factory=dict)
    has_block_map: bool = False
    reason: str = ""
    statement: object | None = None
    block_map_sha256: str | None = None

    @property
    def is_comparable(self) -> bool:
        """Whether it says what the disk is; also that of an image which Glance has deleted meanwhile may."""
        return self.virtual_size is not None and bool(self.digests)


class Manifests(Protocol):
    """Where manifests come from."""

    def find_by_cache_names(self, cache_names: Iterable[str]) -> Mapping[str, Expected]:
        """The manifests of the images with these names in `_base`; names that lead to none are left out.

        Raises ManifestServiceError where nobody can be asked.
        """
        ...

    def find_by_digest(self, digest: Digest) -> Expected | None:
        """A manifest of a disk with this digest, a current image's if there is one."""
        ...

    def block_map(self, expected: Expected) -> BlockMap | None:
        """The block map of an image's disk, if it has one. Raises ManifestServiceError where it cannot be had."""
        ...


def read_manifest(document: object) -> Expected:
    """Read a manifest document, as the API gives it. Raises BadManifest."""
    if not isinstance(document, dict):
        raise BadManifest(f"a manifest should be a JSON object; this is a {type(document).__name__}")
    source = _take(document, "source", dict, {})
    return Expected(
        image_id=_word(document, "image_id", _UUID) or "",
        cache_name=_word(document, "cache_name", _SHA1) or "",
        status=_word(document, "status", _WORD) or "",
        revision=_take(document, "revision", int, 1),
        name=_name(document),
        code=_word(document, "code", _WORD, required=False),
        virtual_size=_size(document, "virtual_size"),
        digests=_digests(_take(document, "digests", dict, {})),
        source_size=_size(source, "size"),
        source_checksums=_digests(_take(source, "checksums", dict, {})),
        has_block_map="bmap" in _take(document, "links", dict, {}),
        statement=document.get("statement"),
    )


def read_block_map(expected: Expected, document: bytes) -> BlockMap:
    """Read an image's block map, a bmap document in UTF-8. Raises BadManifest, also for another than was signed."""
    if expected.block_map_sha256 not in (None, hashlib.sha256(document).hexdigest()):
        raise BadManifest(f"the block map of image {expected.image_id} is not the one that was signed")
    try:
        return BlockMap.from_xml(document.decode())
    except ValueError as error:
        raise BadManifest(f"the block map of image {expected.image_id} cannot be used: {error}") from error


def _take(document: Mapping[str, Any], key: str, kind: type[Value], default: Value | None) -> Any:
    value = document.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadManifest(f"a manifest's {key} should be a {kind.__name__}; this is a {type(value).__name__}")
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _word(document: Mapping[str, Any], key: str, pattern: re.Pattern[str], *, required: bool = True) -> str | None:
    """A text of one form: it will stand in reasons, which people see on terminals."""
    value = _take(document, key, str, None)
    if value is None and not required:
        return None
    if value is None or not pattern.fullmatch(value):
        raise BadManifest(f"a manifest has no {key}, or one that cannot be")
    return str(value)


def _name(document: Mapping[str, Any]) -> str | None:
    """The image's name, which its owner chose; what no encoding knows is replaced."""
    value = _take(document, "name", str, None)
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _size(document: Mapping[str, Any], key: str) -> int | None:
    value = _take(document, key, int, None)
    if value is not None and not 0 <= value <= MAX_SIZE:
        raise BadManifest(f"a manifest's {key} is out of its bounds")
    return None if value is None else int(value)


def _digests(found: Mapping[str, Any]) -> Mapping[str, str]:
    try:
        digests = [Digest(algorithm, value) for algorithm, value in found.items()]
    except (TypeError, ValueError) as error:
        raise BadManifest(f"a manifest's digest is none: {error}") from error
    return {digest.algorithm: digest.hex for digest in digests}
