"""What another site found out, beside what is here: taken once, never over our own, and the newest is served."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from manifest_service.attestations.envelope import sign
from manifest_service.attestations.statement import DiskStatement, write_payload
from manifest_service.manifests import audit, imports, intake, signing, statements
from manifest_service.manifests.database import Database
from manifest_service.manifests.imported import ImportedManifest
from manifest_service.manifests.imports import Outcome
from manifest_service.manifests.models import Event, ManifestBlockMap
from manifest_service.manifests.states import Status
from tests.builders import (
    IMAGE_ID,
    MD5,
    NOON,
    SHA256,
    claimed,
    computed,
    current,
    finish,
    history,
    new_key,
    observation,
    observe,
    queued,
)

KEY = new_key()
OTHER = "00" * 32
VALUES: dict[str, Any] = {
    "image_id": IMAGE_ID,
    "revision": 1,
    "disk_format": "qcow2",
    "virtual_size": 25165824,
    "digests": {"sha256": SHA256},
    "source_size": 2949120,
    "computed_at": NOON,
    "computed_by": "manifest-service 0.1.0",
}


def imported(
    *,
    signed: bool = True,
    block_map: str | None = None,
    stated_map: str | None = None,
    deleted_at: datetime | None = None,
    **changes: Any,
) -> ImportedManifest:
    """A ready manifest of another site. stated_map: the map that its statement is of."""
    values = VALUES | changes
    found = ImportedManifest(
        **values,
        source_checksums={"md5": MD5},
        status=Status.READY,
        name="q1",
        block_map=block_map,
        deleted_at=deleted_at,
    )
    if not signed:
        return found
    sha256 = None if stated_map is None else hashlib.sha256(stated_map.encode()).hexdigest()
    stated = DiskStatement(**values, source_digests={"md5": MD5}, attested_at=NOON, block_map_sha256=sha256)
    return replace(found, statement=sign(write_payload(stated), KEY).as_text(), key=KEY.public)


def take_in(database: Database, *found: ImportedManifest, dry_run: bool = False) -> list[Outcome]:
    taken = database.transaction(lambda session: imports.take_in(session, found, dry_run=dry_run))
    return [each.outcome for each in taken]


def events(database: Database) -> list[dict[str, Any]]:
    query = select(Event.detail).where(Event.kind == "imported").order_by(Event.id)
    return list(database.transaction(lambda session: session.scalars(query).all()))


def test_what_is_new_is_served_with_its_statement(database: Database) -> None:
    assert take_in(database, imported()) == [Outcome.NEW]

    record = current(database)
    assert record is not None
    assert (record.status, record.revision, record.digests) == ("ready", 1, {"sha256": SHA256})
    assert (record.key_id, record.statement) == (KEY.public.key_id, imported().statement)
    assert record.imported_at is not None
    assert (record.computed_at, record.name) == (NOON, "q1")
    assert history(database) == ["imported"]
    (detail,) = events(database)
    assert detail == {"revision": 1, "digests": {"sha256": SHA256}, "signed": True, "key_id": KEY.public.key_id}
    assert queued(database) == 0


def test_the_same_again_changes_nothing(database: Database) -> None:
    take_in(database, imported())
    before = current(database)

    assert take_in(database, imported()) == [Outcome.KNOWN]
    assert take_in(database, imported(signed=False)) == [Outcome.KNOWN]
    assert current(database) == before
    assert history(database) == ["imported"]


def test_a_newer_revision_is_served_and_an_older_one_is_not(database: Database) -> None:
    take_in(database, imported(revision=2))

    assert take_in(database, imported(revision=1, digests={"sha256": OTHER})) == [Outcome.KNOWN]
    assert take_in(database, imported(revision=3, digests={"sha256": OTHER})) == [Outcome.UPDATED]

    record = current(database)
    assert record is not None
    assert (record.revision, record.digests, record.code) == (3, {"sha256": OTHER}, None)


def test_the_same_revision_with_another_digest_is_a_conflict(database: Database) -> None:
    take_in(database, imported())

    (taken,) = database.transaction(
        lambda session: imports.take_in(session, [imported(digests={"sha256": OTHER})], dry_run=False)
    )

    assert (taken.outcome, taken.reason) == (
        Outcome.CONFLICT,
        f"its sha256 is {OTHER}; revision 1 here has {SHA256}",
    )
    record = current(database)
    assert record is not None
    assert record.digests == {"sha256": SHA256}


def test_an_image_of_our_own_is_left_alone(database: Database) -> None:
    observe(database, observation())
    assert take_in(database, imported(revision=9, digests={"sha256": OTHER})) == [Outcome.OWN]  # It is not ready yet.
    finish(database, claimed(database), computed())
    before = current(database)

    assert take_in(database, imported(revision=9)) == [Outcome.OWN]
    assert take_in(database, imported(revision=9, digests={"sha256": OTHER})) == [Outcome.CONFLICT]
    assert take_in(database, imported(digests={"sha512": OTHER * 2}, virtual_size=512)) == [Outcome.CONFLICT]
    assert current(database) == before


def test_what_is_not_signed_never_follows_what_is(database: Database) -> None:
    take_in(database, imported())

    assert take_in(database, imported(signed=False, revision=2)) == [Outcome.CONFLICT]
    assert take_in(database, imported(signed=True, revision=2)) == [Outcome.UPDATED]


def test_a_statement_may_come_later(database: Database) -> None:
    take_in(database, imported(signed=False, block_map="<unsigned/>"))
    record = current(database)
    assert record is not None
    assert (record.key_id, record.has_block_map) == (None, True)

    assert take_in(database, imported()) == [Outcome.UPDATED]

    record = current(database)
    assert record is not None
    assert (record.code, record.key_id) == (None, KEY.public.key_id)
    assert not record.has_block_map  # It may have been any.
    assert [each["signed"] for each in events(database)] == [False, True]


@pytest.mark.parametrize("signed", [True, False])
def test_a_block_map_may_come_later(database: Database, signed: bool) -> None:
    take_in(database, imported(signed=signed, stated_map="<bmap/>"))
    with_map = imported(signed=signed, stated_map="<bmap/>", block_map="<bmap/>")

    assert take_in(database, with_map) == [Outcome.UPDATED]

    assert database.transaction(lambda session: session.scalar(select(ManifestBlockMap.document))) == "<bmap/>"
    assert take_in(database, with_map) == [Outcome.KNOWN]
    record = current(database)
    assert record is not None
    assert (record.status, record.has_block_map) == ("ready", True)


def test_an_unsigned_block_map_never_joins_a_statement(database: Database) -> None:
    take_in(database, imported(stated_map="<bmap/>"))

    assert take_in(database, imported(signed=False, block_map="<other/>")) == [Outcome.KNOWN]


def test_a_deletion_is_for_ever(database: Database) -> None:
    take_in(database, imported())
    deleted_at = NOON + timedelta(hours=1)

    assert take_in(database, imported()) == [Outcome.KNOWN]
    gone = imported(deleted_at=deleted_at)
    assert take_in(database, gone) == [Outcome.UPDATED]
    assert take_in(database, gone) == [Outcome.KNOWN]
    assert take_in(database, imported(revision=2)) == [Outcome.UPDATED]

    record = current(database)
    assert record is not None
    assert (record.status, record.deleted_at, record.revision) == ("deleted", deleted_at, 2)
    assert history(database) == ["imported", "deleted", "imported"]


def test_a_refusal_never_replaces_what_is_ready(database: Database) -> None:
    refused = ImportedManifest(IMAGE_ID, 2, Status.REFUSED, code="backing-file", reason="it builds on another file")
    take_in(database, imported(signed=False))

    assert take_in(database, refused) == [Outcome.KNOWN]
    record = current(database)
    assert record is not None
    assert record.status == "ready"


def test_a_refusal_is_served_until_there_is_better(database: Database) -> None:
    refused = ImportedManifest(IMAGE_ID, 1, Status.REFUSED, code="backing-file", reason="it builds on another file")
    assert take_in(database, refused) == [Outcome.NEW]
    record = current(database)
    assert record is not None
    assert (record.status, record.code, record.digests) == ("refused", "backing-file", {})
    assert take_in(database, refused) == [Outcome.KNOWN]

    assert take_in(database, imported(revision=2)) == [Outcome.UPDATED]
    record = current(database)
    assert record is not None
    assert record.status == "ready"


def test_a_dry_run_writes_nothing(database: Database) -> None:
    assert take_in(database, imported(), dry_run=True) == [Outcome.NEW]

    assert current(database) is None
    assert history(database) == []


def test_our_own_glance_takes_an_imported_image_over(database: Database) -> None:
    take_in(database, imported())
    observe(database, observation(status="queued"))
    assert take_in(database, imported(revision=2)) == [Outcome.UPDATED]

    observe(database, observation(updated_at=NOON + timedelta(seconds=1)))
    record = current(database)
    assert record is not None
    assert (record.status, record.revision, record.imported_at) == ("ready", 2, None)
    assert take_in(database, imported(revision=3)) == [Outcome.OWN]
    finish(database, claimed(database), computed(), KEY)

    record = current(database)
    assert record is not None
    assert (record.status, record.revision) == ("ready", 3)
    assert history(database) == ["imported", "imported", "uploaded", "computation-started", "ready"]


def test_a_deletion_of_another_site_does_not_hold_for_our_own_glance(database: Database) -> None:
    take_in(database, imported(deleted_at=NOON))

    observe(database, observation())
    finish(database, claimed(database), computed())

    record = current(database)
    assert record is not None
    assert record.status == "ready"


def test_an_imported_image_that_we_are_asked_to_compute(database: Database) -> None:
    take_in(database, imported())
    database.transaction(lambda session: intake.request_computation(session, IMAGE_ID))

    assert take_in(database, imported(revision=2)) == [Outcome.OWN]
    assert take_in(database, imported(revision=1)) == [Outcome.KNOWN]


def test_an_audit_finds_nothing_in_what_was_imported(database: Database) -> None:
    other = "00000000-0000-4000-8000-000000000001"
    take_in(
        database,
        imported(stated_map="<bmap/>"),  # Its map was left out.
        imported(image_id=other, signed=False, computed_at=NOON + timedelta(days=1000)),
    )

    def findings(trusted: list[Any]) -> list[str]:
        part = database.transaction(lambda session: audit.audit_part(session, trusted, 0, 10))
        return [finding.kind for finding in part.findings]

    assert findings([]) == ["unsigned"]
    assert findings([KEY.public]) == ["unsigned"]
    record = current(database)
    assert record is not None
    assert record.status == "ready"
    # What others vouch for says nothing of when this site began to sign.
    assert database.transaction(statements.first_key_used_at) is None
    part = database.transaction(lambda session: signing.sign_part(session, KEY, NOON + timedelta(days=2000), 0, 10))
    assert part.signed == 0
