"""Glance's image payload, checked: what a message says becomes an `ImageObservation`, or a sentence why not.

Payloads are untrusted: names and ids end in a database and on a page. Field lengths follow Glance's own columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from manifest_service.manifests.values import ImageObservation

MAX_TEXT = 255
MAX_SIZE = 2**63 - 1
"""Bytes; what the database's integers hold."""

# NUL is refused by PostgreSQL, and lone surrogates by every UTF-8 encoder.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_HEX = r"^[0-9a-f]+$"


class MalformedPayload(Exception):
    """The payload is not what Glance sends. The text says where and what was expected, never what was found."""


def _storable(value: object) -> object:
    """Put U+FFFD where a character cannot be kept, and cut what is longer than Glance lets it be."""
    return _UNSTORABLE.sub("\ufffd", value)[:MAX_TEXT] if isinstance(value, str) else value


_Text = Annotated[str, BeforeValidator(_storable)]
_Word = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9._-]+$")]


class ImagePayload(BaseModel):
    """The fields of an image notification that we use; Glance sends more and may send others."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: Annotated[str, Field(max_length=36)]
    status: _Word
    name: _Text | None = None
    owner: _Text | None = None
    visibility: _Word | None = None
    disk_format: _Word | None = None
    container_format: _Word | None = None
    size: Annotated[int, Field(ge=0, le=MAX_SIZE)] | None = None
    checksum: Annotated[str, Field(min_length=32, max_length=32, pattern=_HEX)] | None = None
    updated_at: Annotated[str, Field(max_length=40)]
    deleted: bool = False
    deleted_at: Annotated[str, Field(max_length=40)] | None = None


def read_payload(
    payload: object, sent_at: datetime, *, is_deletion: bool, request_id: str | None = None
) -> ImageObservation:
    """Turn a notification's payload into what it says of the image.

    sent_at: when the message was made, aware. is_deletion: whether the event is image.delete. request_id: that the
    message belongs to. Raises MalformedPayload.
    """
    if not isinstance(payload, Mapping):
        raise MalformedPayload(f"the payload is a {type(payload).__name__}, a JSON object was expected")
    try:
        image = ImagePayload.model_validate(dict(payload))
    except ValidationError as error:
        raise MalformedPayload(explain(error)) from None
    deleted = image.deleted or is_deletion
    return ImageObservation(
        image_id=canonical_id(image.id, "id"),
        status=image.status,
        updated_at=read_time(image.updated_at),
        observed_at=sent_at,
        name=image.name,
        owner=image.owner,
        visibility=image.visibility,
        disk_format=image.disk_format,
        container_format=image.container_format,
        size=image.size,
        checksums={} if image.checksum is None else {"md5": image.checksum},
        deleted=deleted,
        deleted_at=read_time(image.deleted_at) if deleted and image.deleted_at else None,
        request_id=request_id,
    )


def read_time(text: str) -> datetime:
    """Parse Glance's and oslo.messaging's times; both are UTC, said or not. Raises MalformedPayload."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise MalformedPayload("a time is not in ISO 8601 form") from None


def canonical_id(text: str, field: str) -> str:
    """An image's id in the form in which it is kept. field: its name, for the message. Raises MalformedPayload."""
    try:
        canonical = str(UUID(text))
    except ValueError:
        raise MalformedPayload(f"{field}: not a UUID") from None
    if canonical != text.lower():
        raise MalformedPayload(f"{field}: not a UUID in Glance's form, 8-4-4-4-12 digits")
    return canonical


def explain(error: ValidationError) -> str:
    """Where and what pydantic found wrong, without the input, which anybody may have written."""
    first: dict[str, Any] = dict(error.errors(include_input=False, include_url=False, include_context=False)[0])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}{more}"
