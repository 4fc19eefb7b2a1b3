"""Statements for manifests from before there was a key: part by part, so that it may be stopped and gone on with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from manifest_service.attestations.keys import PrivateKey
from manifest_service.manifests import queries, statements
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.states import EventKind


@dataclass(frozen=True)
class SignedPart:
    """What was done with some manifests. last: number of the last of them; None where there are no more.

    seen: manifests in this part. signed: statements that were made. passed_over: manifests without a statement that
    were computed too late, or lack what a statement needs.
    """

    last: int | None
    seen: int
    signed: int
    passed_over: int


def signing_end(session: Session) -> datetime:
    """Up to when a manifest is rightly without a statement: the first use of the first key, or now."""
    return statements.first_key_used_at(session) or database_now(session)


def sign_part(session: Session, key: PrivateKey, until: datetime, after: int, limit: int) -> SignedPart:
    """Sign those of the next manifests that have no statement, as what the database says of them.

    until: manifests computed at this time or later are passed over: they should have had a statement from the start,
    and where it has gone, the row is not to be taken at its word. after: number of the last manifest of the part
    before; 0 for the first.
    """
    now = database_now(session)
    walked = queries.walk_unchecked(session, after, limit)
    signed = passed_over = 0
    for manifest_id, record in walked:
        if record.key_id is not None or record.imported_at is not None:
            continue  # What came unsigned from another site gets no statement of this one.
        block_map = statements.block_map_sha256(session, record.image_id, record.revision)
        stated = statements.state_recorded(record, block_map, now)
        if stated is None or stated.computed_at >= until or block_map == "":
            passed_over += 1
            continue
        statements.add(session, manifest_id, stated, key, now)
        detail = {"revision": record.revision, "key_id": key.public.key_id}
        add_event(session, record.image_id, EventKind.SIGNED, now, detail)
        signed += 1
    return SignedPart(walked[-1][0] if walked else None, len(walked), signed, passed_over)
