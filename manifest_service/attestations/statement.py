"""The in-toto Statement about one image's disk: made from a value, and read back into one with every field checked.

docs/statements.md describes each field for those who verify with tools of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from manifest_service.attestations import strict_json
from manifest_service.attestations.envelope import MAX_ENVELOPE, BadStatement

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:uuid:f91f86a3-b912-49be-8a86-71286b28cee9#disk-manifest-v1"
"""Ours. A UUID belongs to nobody else (RFC 9562) and needs no domain that could change hands; it leads nowhere."""

MAX_SIZE = 2**63 - 1
MAX_REVISION = 2**31 - 1
MAX_ITEMS = 10000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ALGORITHM = re.compile(r"[a-z0-9_-]{1,32}")
_HEX = re.compile(r"[0-9a-f]{8,128}")


class Basis(StrEnum):
    """What the signer knew of the disk when it signed."""

    COMPUTATION = "computation"
    """The worker that computed the manifest signed it, in the transaction that wrote it down."""
    RECORD = "record"
    """Signed later, from what the database said: no better than the database was by then."""


@dataclass(frozen=True)
class GlanceRecord:
    """What Glance said of the image at the time. Its owner may change the name and the visibility later."""

    name: str | None = None
    owner: str | None = None
    visibility: str | None = None
    container_format: str | None = None


@dataclass(frozen=True)
class DiskStatement:
    """What is attested of one revision of one image's manifest.

    Sizes in bytes; digests (of the disk) and source_digests (of the source) are algorithm → hex. block_map_sha256: of
    the block map's bmap document in UTF-8; None where there is none. Times are aware and in UTC.
    """

    image_id: str
    revision: int
    disk_format: str
    virtual_size: int
    digests: Mapping[str, str]
    source_size: int
    source_digests: Mapping[str, str]
    computed_at: datetime
    computed_by: str
    attested_at: datetime
    basis: Basis = Basis.COMPUTATION
    glance: GlanceRecord = field(default_factory=GlanceRecord)
    block_map_sha256: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def cache_name(self) -> str:
        """The name of the disk's file in Nova's `_base`: SHA-1 of the image id in hex (nova.virt.libvirt.imagecache).

        It follows from the image id, so that a statement cannot give one image the name of another.
        """
        return hashlib.sha1(self.image_id.encode(), usedforsecurity=False).hexdigest()


def write_payload(stated: DiskStatement) -> bytes:
    """The Statement as JSON: the bytes that are to be signed."""
    block_map = None if stated.block_map_sha256 is None else {"sha256": stated.block_map_sha256}
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": stated.cache_name, "digest": dict(sorted(stated.digests.items()))}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "image_id": stated.image_id,
            "revision": stated.revision,
            "cache_name": stated.cache_name,
            "disk_format": stated.disk_format,
            "virtual_size": stated.virtual_size,
            "source": {"size": stated.source_size, "digests": dict(sorted(stated.source_digests.items()))},
            "glance": {
                "name": stated.glance.name,
                "owner": stated.glance.owner,
                "visibility": stated.glance.visibility,
                "container_format": stated.glance.container_format,
            },
            "block_map": block_map,
            "warnings": list(stated.warnings),
            "computed_at": _write_time(stated.computed_at),
            "computed_by": stated.computed_by,
            "attested_at": _write_time(stated.attested_at),
            "basis": stated.basis,
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def read_payload(payload: bytes) -> DiskStatement:
    """Read a Statement, after its signature was verified. Raises BadStatement.

    Members that we do not know are passed over, as in-toto asks of consumers.
    """
    try:
        document = strict_json.loads(payload.decode(), MAX_ENVELOPE)
    except ValueError as error:
        raise BadStatement(f"a statement should be JSON in UTF-8: {error}") from error
    if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
        raise BadStatement(f"this is no in-toto Statement: its _type should be {STATEMENT_TYPE}")
    if document.get("predicateType") != PREDICATE_TYPE:
        raise BadStatement(f"the statement is about something else: its predicateType should be {PREDICATE_TYPE}")
    subjects = document.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise BadStatement("the statement should have one subject, the disk")
    predicate = _object(document, "predicate")
    stated = _read_predicate(predicate, _digests(_object(subjects[0], "digest")))
    for name in (subjects[0].get("name"), predicate.get("cache_name")):
        if name != stated.cache_name:
            raise BadStatement(f"the statement's subject is not the disk of image {stated.image_id}")
    return stated


def _read_predicate(predicate: Mapping[str, Any], digests: Mapping[str, str]) -> DiskStatement:
    if not digests:
        raise BadStatement("the statement's subject has no digest")
    source, glance = _object(predicate, "source"), _object(predicate, "glance")
    block_map = predicate.get("block_map")
    return DiskStatement(
        image_id=_text(predicate, "image_id", _UUID),
        revision=_number(predicate, "revision", 1, MAX_REVISION),
        disk_format=_text(predicate, "disk_format"),
        virtual_size=_number(predicate, "virtual_size", 0, MAX_SIZE),
        digests=digests,
        source_size=_number(source, "size", 0, MAX_SIZE),
        source_digests=_digests(_object(source, "digests")),
        computed_at=_time(predicate, "computed_at"),
        computed_by=_text(predicate, "computed_by"),
        attested_at=_time(predicate, "attested_at"),
        basis=_basis(predicate),
        glance=GlanceRecord(
            **{name: _optional_text(glance, name) for name in ("name", "owner", "visibility", "container_format")}
        ),
        block_map_sha256=None if block_map is None else _text(_object(predicate, "block_map"), "sha256", _SHA256),
        warnings=_texts(predicate, "warnings"),
    )


def _object(document: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    value = document.get(member)
    if not isinstance(value, dict):
        raise BadStatement(f"the statement's {member} should be a JSON object")
    return value


def _text(document: Mapping[str, Any], member: str, form: re.Pattern[str] | None = None) -> str:
    value = document.get(member)
    if not isinstance(value, str) or not _is_encodable(value) or (form is not None and not form.fullmatch(value)):
        raise BadStatement(f"the statement has no {member}, or one that cannot be")
    return value


def _optional_text(document: Mapping[str, Any], member: str) -> str | None:
    return None if document.get(member) is None else _text(document, member)


def _texts(document: Mapping[str, Any], member: str) -> tuple[str, ...]:
    values = document.get(member)
    if not isinstance(values, list) or len(values) > MAX_ITEMS:
        raise BadStatement(f"the statement's {member} should be a list of texts")
    return tuple(_text({member: value}, member) for value in values)


def _number(document: Mapping[str, Any], member: str, least: int, most: int) -> int:
    value = document.get(member)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadStatement(f"the statement's {member} should be an integer of {least} to {most}")
    return value


def _digests(found: Mapping[str, Any]) -> Mapping[str, str]:
    for algorithm, value in found.items():
        if not _ALGORITHM.fullmatch(algorithm) or not isinstance(value, str) or not _HEX.fullmatch(value):
            raise BadStatement("the statement has a digest that is none: algorithm and lower-case hex are expected")
    return dict(found)


def _basis(document: Mapping[str, Any]) -> Basis:
    try:
        return Basis(document.get("basis", ""))
    except ValueError as error:
        raise BadStatement(f"the statement's basis should be one of {', '.join(Basis)}") from error


def _time(document: Mapping[str, Any], member: str) -> datetime:
    text = _text(document, member)
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is None:
            raise ValueError("it has no zone")
        return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadStatement(f"the statement's {member} should be a time as 2026-11-25T12:00:00Z") from error


def _write_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_encodable(text: str) -> bool:
    """Whether a text is one: JSON's escapes can also write half a surrogate pair, which no encoding knows."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
