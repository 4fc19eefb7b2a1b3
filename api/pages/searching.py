"""What somebody typed or pasted: an image id, a name in `_base`, a digest, or an image's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from api.authorization import seen_by
from api.schemas import storable
from manifest_service.manifests import names, queries
from manifest_service.manifests.values import ManifestRecord

MOST_FOUND = 50
LONGEST = 1000
"""Characters of a search: more than the longest path that somebody may paste."""

_IMAGE_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}")
# Nova appends the size to a grown copy's name, and a suffix while it is at it.
_CACHE_NAME = re.compile(r"([0-9a-f]{40})(?:_[0-9]+|\.[a-z]+)?")
_DIGEST = re.compile(r"(?:([a-z0-9_-]{1,32}):)?([0-9a-f]{8,128})")
_CHECKSUM_LINE = re.compile(r"\\?([0-9A-Fa-f]{32,128}) [ *].+", re.DOTALL)
_HEX = re.compile(r"[0-9a-f]{16,}")
_BY_LENGTH = {
    32: ("md5",),
    40: ("sha1",),
    56: ("sha224", "sha3_224"),
    64: ("sha256", "fsverity-sha256", "blkhash-sha256", "blake3", "sha3_256", "blake2s"),
    96: ("sha384", "sha3_384"),
    128: ("sha512", "blake2b", "sha3_512"),
}
"""Algorithms that give so many hex digits: which one it is, a digest without its algorithm does not say."""


@dataclass(frozen=True)
class SearchResult:
    """records: what was found; at most MOST_FOUND, and is_cut says that there is more. hint: what to do about none."""

    records: list[ManifestRecord]
    is_cut: bool = False
    hint: str | None = None


def search(session: Session, text: str) -> SearchResult:
    """Find images by what somebody holds in hand. Never raises: whatever cannot be found is answered by a hint."""
    text = text.strip()
    try:
        storable(text)
    except ValueError:
        return SearchResult([], hint="It holds a character that no name and no digest can hold.")
    if len(text) > LONGEST:
        return SearchResult([], hint=f"It is longer than any name or digest: {len(text):,} characters.")
    found = next((records for records in _by_key(session, _key_in(text)) if records), None)
    if found is None and len(text) <= names.LONGEST:
        found = names.find_by_name(session, seen_by(), text, MOST_FOUND + 1)
    if not found:
        return SearchResult([], hint=_hint(_key_in(text)))
    return SearchResult(found[:MOST_FOUND], is_cut=len(found) > MOST_FOUND)


def image_id_of(text: str) -> str | None:
    """The image id that the text is, in its usual form; None where it is none."""
    return str(UUID(text)) if _IMAGE_ID.fullmatch(text.lower()) else None


def _key_in(text: str) -> str:
    """What may be a key in what was pasted: the digest of a line of `sha256sum`, the file's name of a path."""
    line = _CHECKSUM_LINE.fullmatch(text)
    return (line[1] if line else text.rpartition("/")[2]).strip().lower()


def _by_key(session: Session, key: str) -> Iterator[list[ManifestRecord]]:
    """What each kind of key finds that this may be."""
    image_id = image_id_of(key)
    if image_id is not None:
        yield queries.find_by_image_ids(session, seen_by(), [image_id])
    if (cache_name := _CACHE_NAME.fullmatch(key)) is not None:
        yield queries.find_by_cache_names(session, seen_by(), [cache_name[1]])
    if (digest := _DIGEST.fullmatch(key)) is not None:
        algorithms = (digest[1],) if digest[1] else _BY_LENGTH.get(len(digest[2]), ())
        pairs = [(algorithm, digest[2]) for algorithm in algorithms]
        yield queries.find_by_digests(session, seen_by(), pairs, MOST_FOUND + 1)


def _hint(key: str) -> str:
    """Say what may be wrong with a key that found nothing."""
    digest = _DIGEST.fullmatch(key)
    if image_id_of(key) is not None and "-" in key:
        return "No image of this id has been seen. One from before this service needs a computation to be asked for."
    if _CACHE_NAME.fullmatch(key):
        return "No image is known whose file in _base has this name (the SHA-1 of its id)."
    if digest is not None and (digest[1] or len(digest[2]) in _BY_LENGTH):
        return (
            "No image's disk has this digest. What counts is the disk as Nova converts it; the checksum of the file"
            " that Glance stores is another."
        )
    if _HEX.fullmatch(key):
        lengths = ", ".join(str(length) for length in _BY_LENGTH)
        return f"If it is a digest, it is cut off: it has {len(key)} hex digits, and digests have {lengths}."
    return "No image has a name that begins like this, and it is no image id, name in _base or digest."
