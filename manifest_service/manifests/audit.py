"""Every manifest against its statement, part by part: what an auditor, or a timer, wants to know of a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from manifest_service.attestations import envelope
from manifest_service.attestations.envelope import BadStatement, NotVerified
from manifest_service.attestations.keys import BadKey, PublicKey, read_public_key
from manifest_service.attestations.statement import DiskStatement, read_payload
from manifest_service.manifests import queries, statements
from manifest_service.manifests.models import Image, Manifest, ManifestStatement
from manifest_service.manifests.statements import KeptStatement
from manifest_service.manifests.states import Status
from manifest_service.manifests.tampering import contradictions
from manifest_service.manifests.values import ManifestRecord


class Kind(StrEnum):
    """What is wrong with a manifest. The values are part of the JSON output."""

    TAMPERED = "tampered"
    """The row contradicts what was signed."""
    BAD_SIGNATURE = "bad-signature"
    """The key that should have signed it has not."""
    BAD_STATEMENT = "bad-statement"
    """What is kept as its statement is none of ours, though it may be signed."""
    STATEMENT_MISSING = "statement-missing"
    """It was computed after statements began to be made, and has none: somebody took it, or a worker has no key."""
    ROLLED_BACK = "rolled-back"
    """It is ready, and an older revision is served."""
    UNKNOWN_KEY = "unknown-key"
    """It is signed with a key that is not registered, or is none of those to trust."""
    UNSIGNED = "unsigned"
    """It is from before there was a key."""


def may_be_innocent(kind: Kind, trusted: Sequence[PublicKey]) -> bool:
    """Whether a finding may be so though nobody has edited the database.

    trusted: as given to `audit_part`. A key is registered with its first statement: one that is not registered has no
    innocent explanation, unlike one that an auditor does not trust.
    """
    return kind is Kind.UNSIGNED or (kind is Kind.UNKNOWN_KEY and bool(trusted))


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one revision. field, stated, found: of the row, where it contradicts."""

    kind: Kind
    image_id: str
    revision: int
    reason: str
    field: str | None = None
    stated: str | None = None
    found: str | None = None


@dataclass(frozen=True)
class AuditedPart:
    """last: number of the last manifest of this part; None where there are no more. seen: manifests in it."""

    last: int | None
    seen: int
    findings: tuple[Finding, ...]


def count(session: Session) -> int:
    """How many manifests an audit looks at."""
    return (
        session.scalar(
            select(func.count())
            .select_from(Manifest)
            .outerjoin(ManifestStatement, ManifestStatement.manifest_id == Manifest.id)
            .where(or_(Manifest.status == Status.READY, ManifestStatement.key_id.is_not(None)))
        )
        or 0
    )


def audit_part(session: Session, trusted: Sequence[PublicKey], after: int, limit: int) -> AuditedPart:
    """Check the next manifests.

    trusted: keys to believe; without any, those that are registered in the database. after: number of the last
    manifest of the part before; 0 for the first.
    """
    walked = queries.walk_unchecked(session, after, limit)
    kept = statements.find(session, [manifest_id for manifest_id, _ in walked])
    image_ids = {record.image_id for _, record in walked}
    rows = session.execute(select(Image.image_id, Image.current_revision).where(Image.image_id.in_(image_ids)))
    served = {row.image_id: row.current_revision for row in rows}
    check = _Check(session, tuple(trusted), statements.first_key_used_at(session))
    findings = [
        finding
        for manifest_id, record in walked
        for finding in check.findings(record, kept.get(manifest_id), served.get(record.image_id))
    ]
    return AuditedPart(walked[-1][0] if walked else None, len(walked), tuple(findings))


@dataclass(frozen=True)
class _Check:
    session: Session
    trusted: tuple[PublicKey, ...]
    first_key_used_at: datetime | None

    def findings(self, record: ManifestRecord, kept: KeptStatement | None, served: int | None) -> Iterator[Finding]:
        if kept is None:
            yield self._without_statement(record)
            return
        stated = self._verify(record, kept)
        if isinstance(stated, Finding):
            yield stated
            return
        for found in contradictions(record, stated):
            yield Finding(
                Kind.TAMPERED,
                record.image_id,
                record.revision,
                str(found),
                field=found.field,
                stated=found.stated,
                found=found.found,
            )
        yield from self._block_map(record, stated)
        if served is None or record.revision > served:
            reason = f"it is ready and signed, but revision {served or 'none'} is served"
            yield Finding(Kind.ROLLED_BACK, record.image_id, record.revision, reason)

    def _without_statement(self, record: ManifestRecord) -> Finding:
        if record.imported_at is not None:
            return Finding(Kind.UNSIGNED, record.image_id, record.revision, "it was imported without a statement")
        since = self.first_key_used_at
        if since is None or (record.computed_at is not None and record.computed_at < since):
            return Finding(Kind.UNSIGNED, record.image_id, record.revision, "it is from before there was a key")
        reason = f"statements have been made since {since:%Y-%m-%dT%H:%M:%SZ}, and this later manifest has none"
        return Finding(Kind.STATEMENT_MISSING, record.image_id, record.revision, reason)

    def _verify(self, record: ManifestRecord, kept: KeptStatement) -> DiskStatement | Finding:
        def finding(kind: Kind, reason: str) -> Finding:
            return Finding(kind, record.image_id, record.revision, reason)

        try:
            parsed = envelope.parse(kept.envelope)
            keys = self.trusted or self._registered(kept)
            hints = {signature.key_id for signature in parsed.signatures}
            envelope.verify(parsed, keys)
            return read_payload(parsed.payload)
        except (BadStatement, BadKey) as error:
            return finding(Kind.BAD_STATEMENT, error.reason)
        except NotVerified as error:
            # Without a key of the name that stands there, nobody can say whether the signature is good.
            known = {key.key_id for key in keys} & {*hints, kept.key_id}
            return finding(Kind.BAD_SIGNATURE if known else Kind.UNKNOWN_KEY, error.reason)

    def _registered(self, kept: KeptStatement) -> tuple[PublicKey, ...]:
        if kept.public_key is None:
            return ()
        key = read_public_key(kept.public_key)
        if key.key_id != kept.key_id:
            raise BadStatement(f"the key that is registered as {kept.key_id[:16]} is another one, {key.key_id[:16]}")
        return (key,)

    def _block_map(self, record: ManifestRecord, stated: DiskStatement) -> Iterator[Finding]:
        """Compare what is in a block map; that it is there at all was compared with the row."""
        if not record.has_block_map or stated.block_map_sha256 is None:
            return
        found = statements.block_map_sha256(self.session, record.image_id, record.revision)
        if found != stated.block_map_sha256:
            yield Finding(
                Kind.TAMPERED,
                record.image_id,
                record.revision,
                "its block map is not the one that was signed",
                field="block_map",
                stated=stated.block_map_sha256,
                found=found or "nothing that can be unpacked",
            )
