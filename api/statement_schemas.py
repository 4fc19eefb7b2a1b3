"""What statements and keys look like in the API."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.answers import Answer
from api.schemas import LookupDocument, ManifestDocument, Request
from manifest_service.manifests.statements import RegisteredKey
from manifest_service.manifests.values import ManifestRecord

ENVELOPE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A DSSE envelope.",
    "required": ["payload", "payloadType", "signatures"],
    "properties": {
        "payload": {
            "type": "string",
            "description": "An in-toto Statement in base64; docs/statements.md describes it.",
        },
        "payloadType": {"type": "string"},
        "signatures": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["sig"],
                "properties": {
                    "keyid": {"type": "string", "description": "Says which key to try, and is itself not signed."},
                    "sig": {"type": "string", "description": "In base64."},
                },
            },
        },
    },
}


class AttestedManifestDocument(ManifestDocument):
    """A manifest with its signed statement: a DSSE envelope; null where it has none."""

    statement: Annotated[dict[str, Any] | None, Field(description="A DSSE envelope.")] = None

    @classmethod
    def of(cls, record: ManifestRecord) -> AttestedManifestDocument:
        """The document of a record."""
        document = cls(**dict(ManifestDocument.of(record)))
        document.statement = _read(record.statement)
        return document


class AttestedLookupDocument(LookupDocument):
    """The answer to a lookup that asks for statements."""

    manifests: list[AttestedManifestDocument]  # type: ignore[assignment]  # of the subclass


class KeyPath(Request):
    """Which key."""

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the SubjectPublicKeyInfo, DER.")]


class KeyDocument(Answer):
    """A key that statements were signed with. public_key: PEM. imported_at: null for a key of this site."""

    key_id: str
    algorithm: str
    public_key: str
    first_used_at: datetime
    imported_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, key: RegisteredKey) -> KeyDocument:
        """The document of a key."""
        return cls(
            key_id=key.key_id,
            algorithm="ed25519",
            public_key=key.public_key,
            first_used_at=key.first_used_at,
            imported_at=key.imported_at,
            links={"self": f"/v1/keys/{key.key_id}"},
        )


class KeyList(Answer):
    """All keys, the oldest first."""

    keys: list[KeyDocument]


def _read(statement: str | None) -> dict[str, Any] | None:
    """The envelope as it is kept; None also for what somebody has put there and is no envelope."""
    try:
        document = json.loads(statement or "null")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
