"""What Glance records of an image, checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,64}")
_LONGEST_TEXT = 255
_LONGEST_URL = 8192
_MOST_LOCATIONS = 100


@dataclass(frozen=True)
class ImageLocation:
    """Where Glance says that an image's bytes are.

    uri: as glance_store reads it. It can hold credentials, so it is never shown: not by `repr` either. backend: name of
    the store, where Glance tells it.
    """

    uri: str = field(repr=False)
    backend: str | None = None


@dataclass(frozen=True)
class ImageRecord:
    """What Glance records of an image; what is None it did not say.

    size: bytes of the source. checksums: of the source, algorithm → hex. created_at, updated_at: in UTC, whole seconds.
    locations: where the bytes are, if Glance is configured to tell (`direct_url` among them).
    """

    image_id: str
    disk_format: str | None = None
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    name: str | None = None
    owner: str | None = None
    visibility: str | None = None
    container_format: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    locations: tuple[ImageLocation, ...] = ()


def read_record(document: Any, image_id: str | None = None) -> ImageRecord:
    """Read what Glance says of an image: the answer itself, or one entry of a list.

    image_id: which image it must be of; None for any. Raises ValueError for what cannot be.
    """
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise ValueError("this is no record of an image")  # noqa: TRY004  # Not of a call: of an answer.
    if image_id is not None and document["id"] != image_id:
        raise ValueError("this is not the image's record")
    size = document.get("size")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError("the size is none")
    return ImageRecord(
        image_id=document["id"],
        disk_format=_take(document, "disk_format", _WORD),
        size=size,
        checksums=_checksums_of(document),
        status=_take(document, "status", _WORD),
        name=_text(document, "name"),
        owner=_text(document, "owner"),
        visibility=_take(document, "visibility", _WORD),
        container_format=_take(document, "container_format", _WORD),
        created_at=_time(document, "created_at"),
        updated_at=_time(document, "updated_at"),
        locations=(*read_locations(document.get("locations") or []), *_direct_location(document)),
    )


def read_locations(document: Any) -> Iterator[ImageLocation]:
    """Read a list of locations, as `GET /v2/images/{id}/locations` answers it. Raises ValueError for what is none."""
    if not isinstance(document, list) or len(document) > _MOST_LOCATIONS:
        raise ValueError("this is no list of locations")
    for entry in document:
        if not isinstance(entry, dict):
            raise ValueError("this is no location")  # noqa: TRY004
        metadata = entry.get("metadata")
        backend = metadata.get("store") if isinstance(metadata, dict) else None
        yield ImageLocation(_uri(entry.get("url")), backend if isinstance(backend, str) else None)


def read_members(document: Any) -> frozenset[str]:
    """Read the projects of a list of members, as `GET /v2/images/{id}/members` answers it. Raises ValueError."""
    entries = document.get("members") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("this is no list of members")  # noqa: TRY004
    found = [_text(entry, "member_id") if isinstance(entry, dict) else None for entry in entries]
    if not all(member and member.isprintable() for member in found):
        raise ValueError("this is no member")
    return frozenset(member for member in found if member)


def _direct_location(document: Mapping[str, Any]) -> Iterator[ImageLocation]:
    if document.get("direct_url") is not None:
        yield ImageLocation(_uri(document["direct_url"]))


def _uri(value: Any) -> str:
    if not isinstance(value, str) or "://" not in value or not value.isprintable() or len(value) > _LONGEST_URL:
        raise ValueError("a location's url is none")
    return value


def _checksums_of(document: Mapping[str, Any]) -> dict[str, str]:
    checksums = {}
    md5 = _take(document, "checksum", _HEX)
    algorithm, value = _take(document, "os_hash_algo", _WORD), _take(document, "os_hash_value", _HEX)
    if algorithm is not None and value is not None:
        checksums[algorithm] = value
    if md5 is not None:
        checksums["md5"] = md5
    return checksums


def _take(document: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} is none")
    return value


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and (not isinstance(value, str) or len(value) > _LONGEST_TEXT):
        raise ValueError(f"{key} is none")
    return value


def _time(document: Mapping[str, Any], key: str) -> datetime | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} is none")  # noqa: TRY004
    found = datetime.fromisoformat(value)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
