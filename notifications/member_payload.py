"""Glance's payload of a project that an image is shared with, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifest_service.manifests.members import MemberObservation
from notifications.payload import MAX_TEXT, MalformedPayload, canonical_id, explain, read_time


class MemberPayload(BaseModel):
    """The fields of `image.member.*` that we use. The member's own status does not change what it may see."""

    model_config = ConfigDict(extra="ignore", strict=True)

    image_id: Annotated[str, Field(max_length=36)]
    # Never put right: another id would be another project.
    member_id: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00-\x1f]+$")]
    updated_at: Annotated[str, Field(max_length=40)]
    deleted: bool = False
    deleted_at: Annotated[str, Field(max_length=40)] | None = None


def read_member_payload(payload: object, sent_at: datetime) -> MemberObservation:
    """Turn a notification's payload into what it says of the member.

    sent_at: when the message was made, aware. Raises MalformedPayload.
    """
    if not isinstance(payload, Mapping):
        raise MalformedPayload(f"the payload is a {type(payload).__name__}, a JSON object was expected")
    try:
        member = MemberPayload.model_validate(dict(payload))
    except ValidationError as error:
        raise MalformedPayload(explain(error)) from None
    return MemberObservation(
        image_id=canonical_id(member.image_id, "image_id"),
        member=member.member_id,
        is_member=not member.deleted,
        # A deletion leaves `updated_at` as it was.
        changed_at=read_time(member.deleted_at or member.updated_at),
        observed_at=sent_at,
    )
