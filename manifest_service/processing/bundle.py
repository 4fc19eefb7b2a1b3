"""Reading what another site has exported: JSON lines that anybody may have written, or changed on their way.

What is taken of a line is what a trusted key has signed of it. What stands beside the statement only leads to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO

from manifest_service.attestations import envelope, strict_json
from manifest_service.attestations.envelope import BadStatement, NotVerified
from manifest_service.attestations.keys import PublicKey
from manifest_service.attestations.statement import DiskStatement, read_payload
from manifest_service.digests.bmap import BlockMap
from manifest_service.manifests.imported import ImportedManifest
from manifest_service.manifests.states import Status
from manifest_service.processing import bundle_fields as fields
from manifest_service.processing.bundle_fields import BadLine

LONGEST_LINE = 64 << 20
"""Bytes; a block map may have some MiB."""
MOST_PARTS = 100_000
"""Members and items of a line: each takes memory, however short it is, and a block map is one text."""
LARGEST_REVISION = 2**30
"""Half of what the database's integers hold: each revision that this site computes of the image comes behind it."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CODE = re.compile(r"[a-z][a-z0-9-]{0,63}")


class PassedOver(StrEnum):
    """Why nothing of a line is taken. The values are part of the command's output."""

    UNSIGNED = "unsigned"
    UNVERIFIED = "unverified"
    """It has a statement, and no trusted key has signed it."""
    REFUSED = "refused"
    """There is no disk to attest, so that nobody has signed it."""
    WITHOUT_DIGESTS = "without-digests"
    """It was not computed yet, or the computation failed."""


@dataclass(frozen=True)
class Read:
    """What a line holds.

    found: what is to be taken in, or why nothing is. told: what is odd about it: why it is not verified, or where what
    stands beside the statement contradicts it.
    """

    image_id: str
    found: ImportedManifest | PassedOver
    told: str = ""


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    """Each line, and how many bytes it has; None in place of one that is too long to be one of ours."""
    while line := file.readline(LONGEST_LINE):
        size = len(line)
        if line.endswith(b"\n") or size < LONGEST_LINE:  # The last line may lack its end.
            yield line, size
            continue
        while rest := file.readline(LONGEST_LINE):
            size += len(rest)
            if rest.endswith(b"\n"):
                break
        yield None, size


def read_line(line: bytes | None, trusted: Sequence[PublicKey], *, unsigned: bool) -> Read:
    """Read one line. Raises BadLine.

    trusted: keys whose statements are believed. unsigned: whether a document without such a statement is believed, too.
    """
    document = _load(line)
    image_id = fields.required(document, "image_id", _UUID)
    told = ""
    if document.get("statement") is not None and trusted:
        try:
            parsed = envelope.read(document["statement"])
            key = envelope.verify(parsed, trusted)
            stated = read_payload(parsed.payload)
            if stated.image_id != image_id:
                raise BadStatement(f"its statement is of another image, {stated.image_id}")
            return _from_statement(document, stated, parsed, key)
        except (BadStatement, NotVerified) as error:
            told = error.reason
    if unsigned:
        return Read(image_id, _from_document(document, image_id), told)
    return Read(image_id, PassedOver.UNVERIFIED if told else _why_unsigned(document), told)


def _load(line: bytes | None) -> Mapping[str, Any]:
    if line is None:
        raise BadLine(f"a line has {LONGEST_LINE} bytes at most; this one has more")
    if line.count(b",") + line.count(b"[") + line.count(b"{") > MOST_PARTS:
        raise BadLine(f"a manifest has less than {MOST_PARTS} members and items; this line has more")
    try:
        document = strict_json.loads(line.decode(), LONGEST_LINE)
    except ValueError as error:
        raise BadLine(f"a line should be JSON in UTF-8: {error}") from error
    if not isinstance(document, dict):
        raise BadLine(f"a manifest should be a JSON object; this is a {type(document).__name__}")
    return document


def _status_of(document: Mapping[str, Any]) -> Status:
    try:
        return Status(document.get("status", ""))
    except ValueError as error:
        raise BadLine("a manifest has no status, or one that cannot be") from error


def _why_unsigned(document: Mapping[str, Any]) -> PassedOver:
    match _status_of(document):
        case Status.REFUSED:
            return PassedOver.REFUSED
        case Status.READY | Status.DELETED if document.get("digests"):
            return PassedOver.UNSIGNED
        case _:
            return PassedOver.WITHOUT_DIGESTS


def _from_statement(
    document: Mapping[str, Any], stated: DiskStatement, parsed: envelope.Envelope, key: PublicKey
) -> Read:
    """What was signed; of the rest only the deletion, which nobody signs, and the block map that was signed."""
    found = ImportedManifest(
        image_id=stated.image_id,
        revision=_revision({"revision": stated.revision}),
        status=Status.READY,
        name=fields.bounded("name", stated.glance.name),
        owner=fields.bounded("owner", stated.glance.owner),
        visibility=fields.bounded("visibility", stated.glance.visibility, fields.MAX_WORD),
        container_format=fields.bounded("container_format", stated.glance.container_format, fields.MAX_WORD),
        disk_format=fields.bounded("disk_format", stated.disk_format, fields.MAX_WORD),
        virtual_size=stated.virtual_size,
        digests=fields.digests(stated.digests),
        source_size=stated.source_size,
        source_checksums=fields.digests(stated.source_digests),
        warnings=fields.warnings(stated.warnings),
        computed_at=fields.plausible(stated.computed_at),
        computed_by=fields.bounded("computed_by", stated.computed_by),
        deleted_at=_deleted_at(document),
        block_map=_signed_block_map(document, stated),
        statement=parsed.as_text(),
        key=key,
    )
    return Read(stated.image_id, found, _contradiction(document, found))


def _contradiction(document: Mapping[str, Any], found: ImportedManifest) -> str:
    """Where a document that says what the disk is says something else than its statement."""
    if document.get("bmap") is not None and found.block_map is None:
        return "its block map is not the one that was signed"
    if document.get("status") in (Status.READY, Status.DELETED):
        for name, value in (
            ("revision", found.revision),
            ("virtual_size", found.virtual_size),
            ("digests", dict(found.digests)),
        ):
            if document.get(name) != value:
                return f"what it says of its {name} is not what was signed"
    return ""


def _signed_block_map(document: Mapping[str, Any], stated: DiskStatement) -> str | None:
    text = fields.text(document, "bmap", LONGEST_LINE)
    if text is None or stated.block_map_sha256 is None:
        return None
    return text if hashlib.sha256(text.encode()).hexdigest() == stated.block_map_sha256 else None


def _from_document(document: Mapping[str, Any], image_id: str) -> ImportedManifest | PassedOver:
    """What a document says, for those who believe it as it is."""
    status = _status_of(document)
    digests = fields.digests(fields.json_object(document, "digests"))
    if status is not Status.REFUSED and (status not in (Status.READY, Status.DELETED) or not digests):
        return PassedOver.WITHOUT_DIGESTS
    source = fields.json_object(document, "source")
    virtual_size = fields.size(document, "virtual_size")
    return ImportedManifest(
        image_id=image_id,
        revision=_revision(document),
        status=Status.REFUSED if status is Status.REFUSED else Status.READY,
        name=fields.text(document, "name"),
        disk_format=fields.text(document, "disk_format", fields.MAX_WORD),
        virtual_size=virtual_size,
        digests=digests,
        source_size=fields.size(source, "size"),
        source_checksums=fields.digests(fields.json_object(source, "checksums")),
        warnings=fields.warnings(document.get("warnings") or ()),
        code=fields.required(document, "code", _CODE) if status is Status.REFUSED else None,
        reason=fields.text(document, "reason", fields.MAX_REASON) if status is Status.REFUSED else None,
        computed_at=fields.time(document, "computed_at"),
        computed_by=fields.text(document, "computed_by"),
        deleted_at=_deleted_at(document),
        block_map=_block_map(document, virtual_size),
    )


def _revision(document: Mapping[str, Any]) -> int:
    return fields.number(document, "revision", 1, LARGEST_REVISION) or 1


def _block_map(document: Mapping[str, Any], virtual_size: int | None) -> str | None:
    text = fields.text(document, "bmap", LONGEST_LINE)
    if text is None:
        return None
    try:
        if BlockMap.from_xml(text).virtual_size == virtual_size:
            return text
    except ValueError as error:
        raise BadLine(f"a manifest's block map cannot be used: {error}") from error
    raise BadLine("a manifest's block map is of a disk of another size")


def _deleted_at(document: Mapping[str, Any]) -> datetime | None:
    if document.get("status") != Status.DELETED:
        return None
    deleted_at = fields.time(document, "deleted_at")
    if deleted_at is None:
        raise BadLine("a manifest of a deleted image should say when that was, as deleted_at")
    return deleted_at
