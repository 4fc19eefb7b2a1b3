"""Does a manifest's row say what was signed? Whoever edits the database past the service is found out here.

A row that contradicts its statement is never passed on as it is: nobody can say which of its values are true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from oslo_log import log

from manifest_service.attestations import envelope
from manifest_service.attestations.envelope import BadStatement, NotVerified
from manifest_service.attestations.keys import BadKey, read_public_key
from manifest_service.attestations.statement import DiskStatement, read_payload
from manifest_service.errors import StatementCode
from manifest_service.manifests.statements import KeptStatement
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord

LOG = log.getLogger(__name__)

KEPT_STATEMENTS = 4096
"""Verified statements that a process remembers, in about 16 MiB: verifying one takes 0.3 ms.

An export of more pushes out what nodes ask for, which then costs that once more. Keeping exports out would have
them verify everything each time, which in a small cloud is remembered.
"""
_SHOWN = 128
"""Characters of a value in a sentence; a SHA-512 has as many."""


@dataclass(frozen=True)
class Contradiction:
    """A field of a manifest's row that is not what was signed. stated, found: for people to read."""

    field: str
    stated: str
    found: str

    def __str__(self) -> str:
        return f"{self.field} should be {self.stated} and is {self.found}"


def checked(record: ManifestRecord, kept: KeptStatement | None) -> ManifestRecord:
    """The record with its statement, or, where they contradict each other, one that says so and nothing else.

    One without a statement must at least be one that the service can have written.
    """
    if kept is None:
        return _readable(record)
    stated = verified(kept)
    if isinstance(stated, str):
        return _tampered(record, kept, stated)
    found = list(contradictions(record, stated))
    if found:
        return _tampered(record, kept, f"the database contradicts what was signed: {'; '.join(map(str, found))}")
    return replace(record, statement=kept.envelope, block_map_sha256=stated.block_map_sha256)


def verified(kept: KeptStatement) -> DiskStatement | str:
    """What was signed; or a sentence that says why it cannot be believed."""
    if kept.public_key is None:
        return f"its statement names a key that is not registered, {kept.key_id[:16]}"
    return _verified(kept.envelope, kept.public_key, kept.key_id)


def contradictions(record: ManifestRecord, stated: DiskStatement) -> Iterator[Contradiction]:
    """All that a row says otherwise than its statement.

    What Glance's owner may change later (name, owner, visibility) is not compared: the statement says what it was.
    """
    ready = record.status if record.status in (Status.READY, Status.DELETED) else Status.READY
    pairs: tuple[tuple[str, object, object], ...] = (
        ("image_id", stated.image_id, record.image_id),
        ("revision", stated.revision, record.revision),
        ("cache_name", stated.cache_name, record.cache_name),
        ("status", str(ready), str(record.status)),
        ("code", None, record.code),
        ("disk_format", stated.disk_format, record.disk_format),
        ("virtual_size", stated.virtual_size, record.virtual_size),
        *_by_algorithm("digests", stated.digests, record.digests),
        ("source.size", stated.source_size, record.source_size),
        *_by_algorithm("source.checksums", stated.source_digests, record.source_checksums),
        ("warnings", list(stated.warnings), list(record.warnings)),
        ("block_map", stated.block_map_sha256 is not None, record.has_block_map or _may_lack_block_map(record, stated)),
        ("computed_at", stated.computed_at, record.computed_at),
        ("computed_by", stated.computed_by, record.computed_by),
    )
    for field, signed, found in pairs:
        if signed != found:
            yield Contradiction(field, _shown(signed), _shown(found))


def _may_lack_block_map(record: ManifestRecord, stated: DiskStatement) -> bool:
    """An export may leave out the maps, so that what was imported from one has the statement and not the map."""
    return record.imported_at is not None and stated.block_map_sha256 is not None


def is_stated_block_map(record: ManifestRecord, document: str) -> bool:
    """Whether a block map is the one that was signed with a checked record; true where nothing was signed."""
    return record.statement is None or record.block_map_sha256 == hashlib.sha256(document.encode()).hexdigest()


def _by_algorithm(field: str, signed: Mapping[str, str], found: object) -> Iterator[tuple[str, object, object]]:
    """The pairs of two maps, algorithm by algorithm; the maps themselves where one is none."""
    if not isinstance(found, Mapping):
        yield field, dict(signed), found
        return
    for algorithm in sorted({*signed, *found}):
        yield f"{field}.{algorithm}", signed.get(algorithm), found.get(algorithm)


@lru_cache(maxsize=KEPT_STATEMENTS)
def _verified(text: str, public_key: str, key_id: str) -> DiskStatement | str:
    """A function of its arguments alone, so that an answer may be remembered."""
    try:
        key = read_public_key(public_key)
        if key.key_id != key_id:
            return f"the key that is registered as {key_id[:16]} is another one, {key.key_id[:16]}"
        parsed = envelope.parse(text)
        envelope.verify(parsed, [key])
        return read_payload(parsed.payload)
    except (BadStatement, NotVerified, BadKey) as error:
        return error.reason


def _readable(record: ManifestRecord) -> ManifestRecord:
    """The record itself, unless its row holds what is no JSON of ours."""
    checksums: object = record.source_checksums
    texts = [*checksums.values(), *record.warnings] if isinstance(checksums, Mapping) else [None]
    if all(isinstance(text, str) for text in texts):
        return record
    reason = f"the database holds no readable source_checksums or warnings of revision {record.revision}"
    LOG.error("image %s: %s", record.image_id, reason)
    return _tampered(record, None, reason)


def _tampered(record: ManifestRecord, kept: KeptStatement | None, reason: str) -> ManifestRecord:
    return replace(
        record,
        status=Status.FAILED,
        code=StatementCode.MANIFEST_TAMPERED,
        reason=reason,
        virtual_size=None,
        digests={},
        source_size=None,
        source_checksums={},
        warnings=(),
        has_block_map=False,
        statement=None if kept is None else kept.envelope,
    )


def _shown(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
