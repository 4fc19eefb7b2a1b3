"""A manifest that somebody edits in the database: the API does not serve it, and an audit says what was edited."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from api.manifests import require_manifest
from api.service import ApiService
from manifest_service.attestations import envelope
from manifest_service.attestations.keys import PrivateKey, PublicKey
from manifest_service.manifests import audit, intake
from manifest_service.manifests.audit import AuditedPart, Kind
from manifest_service.manifests.base import Base
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import (
    Image,
    Manifest,
    ManifestBlockMap,
    ManifestDigest,
    ManifestStatement,
    SigningKey,
)
from manifest_service.manifests.values import ManifestRecord
from tests.api.client import Client
from tests.builders import IMAGE_ID, NOON, SHA256, claimed, computed, finish, new_key, observation, observe

HERE = f"/v1/manifests/{IMAGE_ID}"
OTHER_ID = "5a4c2f3e-7a8e-4b54-9a2b-0a4b5c6d7e8f"
KEY = new_key()
OTHER_KEY = new_key()


@dataclass
class Signed:
    """A ready manifest with a key of its own, in somebody's hands."""

    session: Session
    image_id: str
    key: PrivateKey

    @property
    def manifest_id(self) -> int:
        return self.session.scalars(select(Manifest.id).where(Manifest.image_id == self.image_id)).one()

    @property
    def payload(self) -> bytes:
        text = select(ManifestStatement.envelope).where(ManifestStatement.manifest_id == self.manifest_id)
        return envelope.parse(self.session.scalars(text).one()).payload

    def edit(self, **values: Any) -> None:
        self.session.execute(update(Manifest).where(Manifest.image_id == self.image_id).values(**values))

    def edit_image(self, **values: Any) -> None:
        self.session.execute(update(Image).where(Image.image_id == self.image_id).values(**values))

    def edit_digest(self, **values: Any) -> None:
        digests = update(ManifestDigest).where(ManifestDigest.manifest_id == self.manifest_id)
        self.session.execute(digests.values(**values))

    def edit_statement(self, **values: Any) -> None:
        kept = update(ManifestStatement).where(ManifestStatement.manifest_id == self.manifest_id)
        self.session.execute(kept.values(**values))

    def edit_key(self, **values: Any) -> None:
        self.session.execute(update(SigningKey).where(SigningKey.key_id == self.key.public.key_id).values(**values))

    def sign(self, payload: bytes, key: PrivateKey) -> None:
        self.edit_statement(envelope=envelope.sign(payload, key).as_text())

    def take(self, table: type[Base]) -> None:
        self.session.execute(delete(table).where(table.manifest_id == self.manifest_id))  # type: ignore[attr-defined]


def publish(database: Database, image_id: str = IMAGE_ID, signer: PrivateKey | None = KEY, **changes: Any) -> None:
    observe(database, observation(image_id=image_id))
    found = computed(**{"warnings": ("odd",), "block_map": f"<bmap of='{image_id}'/>"} | changes)
    finish(database, claimed(database), found, signer)


def audited(database: Database, *trusted: PublicKey) -> AuditedPart:
    return database.transaction(lambda session: audit.audit_part(session, trusted, 0, 100))


def kinds(database: Database, *trusted: PublicKey) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.field) for finding in audited(database, *trusted).findings]


def tamper(database: Database, edit: Callable[[Signed], object], image_id: str = IMAGE_ID) -> None:
    database.transaction(lambda session: edit(Signed(session, image_id, KEY)))


def renumber(signed: Signed) -> None:
    signed.edit(revision=7)
    signed.edit_image(current_revision=7)


def add_digest(signed: Signed) -> None:
    digest = {"manifest_id": signed.manifest_id, "algorithm": "md5", "value": "0" * 32}
    signed.session.execute(insert(ManifestDigest).values(digest))


def edit_payload(signed: Signed) -> None:
    """Make row and payload agree, and keep the signature."""
    read = envelope.sign(signed.payload.replace(b'"virtual_size":25165824', b'"virtual_size":25165825'), signed.key)
    good = envelope.sign(signed.payload, signed.key)
    signed.edit_statement(envelope=replace(read, signatures=good.signatures).as_text())
    signed.edit(virtual_size=25165825)


# What is edited -> (how, what an audit finds, in which field)
EDITS: dict[str, tuple[Callable[[Signed], object], Kind, str | None]] = {
    "virtual_size": (lambda signed: signed.edit(virtual_size=25165825), Kind.TAMPERED, "virtual_size"),
    "no virtual_size": (lambda signed: signed.edit(virtual_size=None), Kind.TAMPERED, "virtual_size"),
    "disk_format": (lambda signed: signed.edit(disk_format="raw"), Kind.TAMPERED, "disk_format"),
    "source size": (lambda signed: signed.edit(source_size=1), Kind.TAMPERED, "source.size"),
    "checksums": (lambda signed: signed.edit(source_checksums={"md5": "0"}), Kind.TAMPERED, "source.checksums.md5"),
    "no checksums": (lambda signed: signed.edit(source_checksums=[5]), Kind.TAMPERED, "source.checksums"),
    "warnings": (lambda signed: signed.edit(warnings=[]), Kind.TAMPERED, "warnings"),
    "no warnings": (lambda signed: signed.edit(warnings=5), Kind.TAMPERED, "warnings"),
    "computed_at": (lambda signed: signed.edit(computed_at=NOON), Kind.TAMPERED, "computed_at"),
    "computed_by": (lambda signed: signed.edit(computed_by="somebody"), Kind.TAMPERED, "computed_by"),
    "revision": (renumber, Kind.TAMPERED, "revision"),
    "status": (lambda signed: signed.edit(status="refused"), Kind.TAMPERED, "status"),
    "no status": (lambda signed: signed.edit(status="splendid"), Kind.TAMPERED, "status"),
    "code": (lambda signed: signed.edit(code="backing-file"), Kind.TAMPERED, "code"),
    "cache_name": (lambda signed: signed.edit_image(cache_name="0" * 40), Kind.TAMPERED, "cache_name"),
    "digest": (lambda signed: signed.edit_digest(value="0" * 64), Kind.TAMPERED, "digests.sha256"),
    "algorithm": (lambda signed: signed.edit_digest(algorithm="blake3"), Kind.TAMPERED, "digests.blake3"),
    "no digest": (lambda signed: signed.take(ManifestDigest), Kind.TAMPERED, "digests.sha256"),
    "one digest more": (add_digest, Kind.TAMPERED, "digests.md5"),
    "no block map": (lambda signed: signed.take(ManifestBlockMap), Kind.TAMPERED, "block_map"),
    "another image's statement": (
        lambda signed: signed.sign(Signed(signed.session, OTHER_ID, KEY).payload, signed.key),
        Kind.TAMPERED,
        "image_id",
    ),
    "row and payload": (edit_payload, Kind.BAD_SIGNATURE, None),
    "signature": (lambda signed: signed.sign(signed.payload, OTHER_KEY), Kind.BAD_SIGNATURE, None),
    "no envelope": (lambda signed: signed.edit_statement(envelope="[" * 3000), Kind.BAD_STATEMENT, None),
    "no statement in it": (lambda signed: signed.sign(b"{}", signed.key), Kind.BAD_STATEMENT, None),
    "key id": (lambda signed: signed.edit_statement(key_id="0" * 64), Kind.UNKNOWN_KEY, None),
    "registered id": (lambda signed: signed.edit_key(key_id="0" * 63 + "1"), Kind.UNKNOWN_KEY, None),
    "registered key": (lambda signed: signed.edit_key(public_key=OTHER_KEY.public.pem), Kind.BAD_STATEMENT, None),
    "no registered key": (lambda signed: signed.edit_key(public_key="none"), Kind.BAD_STATEMENT, None),
}


@pytest.mark.slow
def test_every_edit_is_reported_by_the_api_and_by_an_audit(api: Client, database: Database) -> None:
    publish(database, OTHER_ID)
    keys = {str(uuid4()): new_key() for _ in EDITS}
    for image_id, key in keys.items():
        publish(database, image_id, key)
    assert {api.get(f"/v1/manifests/{image_id}").json()["status"] for image_id in keys} == {"ready"}
    assert not audited(database).findings

    for (image_id, key), (edit, _, _) in zip(keys.items(), EDITS.values(), strict=True):
        database.transaction(lambda session: edit(Signed(session, image_id, key)))  # noqa: B023

    found = {(finding.image_id, finding.kind, finding.field) for finding in audited(database).findings}
    for image_id, (name, (_, kind, field)) in zip(keys, EDITS.items(), strict=True):
        assert (image_id, kind, field) in found, name
        assert not audit.may_be_innocent(kind, ()), name
        _assert_that_the_api_says_it(api, image_id)
    _assert_that_lists_say_it(api, set(keys))
    assert api.get(f"/v1/manifests/{OTHER_ID}").json()["status"] == "ready"


def _assert_that_the_api_says_it(api: Client, image_id: str) -> None:
    here = f"/v1/manifests/{image_id}"
    for path, accept in ((here, "application/json"), (here, "text/plain"), (f"{here}/bmap", "*/*")):
        answer = api.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (500, "manifest-tampered")
        assert "manifest-service audit" in answer.json()["next_step"]


def _assert_that_lists_say_it(api: Client, image_ids: set[str]) -> None:
    listed = api.get("/v1/manifests").json()["manifests"]
    looked_up = api.post("/v1/lookups", json={"image_ids": sorted(image_ids)}).json()["manifests"]
    by_digest = api.post("/v1/lookups", json={"digests": [f"sha256:{SHA256}"]}).json()["manifests"]
    for answer in (listed, looked_up, by_digest):
        for manifest in answer:
            if manifest["image_id"] != OTHER_ID:
                assert (manifest["status"], manifest["code"]) == ("failed", "manifest-tampered")
                assert (manifest["virtual_size"], manifest["digests"]) == (None, {})
                assert manifest["source"] == {"size": None, "checksums": {}}
                assert "bmap" not in manifest["links"]
    assert image_ids == {each["image_id"] for each in looked_up} == {each["image_id"] for each in listed} - {OTHER_ID}


def test_another_block_map_is_reported_where_it_is_served(api: Client, database: Database) -> None:
    publish(database)
    assert api.get(f"{HERE}/bmap").status_code == 200

    database.transaction(lambda session: session.execute(update(ManifestBlockMap).values(document="<bmap/>")))

    answer = api.get(f"{HERE}/bmap")
    assert (answer.status_code, answer.json()["code"]) == (500, "manifest-tampered")
    (finding,) = audited(database).findings
    assert (finding.kind, finding.field, len(finding.found or "")) == (Kind.TAMPERED, "block_map", 64)


def test_a_block_map_where_none_was_signed_is_reported(local_api: Client, local: Database) -> None:
    publish(local, block_map=None)
    assert local_api.get(HERE).json()["status"] == "ready"

    local.transaction(
        lambda session: session.execute(insert(ManifestBlockMap).values(manifest_id=1, document="<bmap/>"))
    )

    assert local_api.get(HERE).json()["code"] == "manifest-tampered"
    assert kinds(local) == [("tampered", "block_map")]


def test_a_block_map_that_cannot_be_unpacked_is_reported(local_api: Client, local: Database) -> None:
    publish(local)
    with local.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE manifest_block_maps SET document = x'00'")

    assert [finding.found for finding in audited(local).findings] == ["nothing that can be unpacked"]
    assert local_api.get(f"{HERE}/bmap").json()["code"] == "manifest-tampered"


def test_another_revision_that_comes_while_a_block_map_is_asked_for_is_no_tampering(
    local_api: Client, local: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(local)

    def and_then_another(service: ApiService, image_id: str) -> ManifestRecord:
        record = require_manifest(service, image_id)
        local.transaction(lambda session: intake.request_computation(session, image_id))
        finish(local, claimed(local), computed(block_map="<bmap of='the next'/>"), KEY)
        return record

    monkeypatch.setattr("api.manifests.require_manifest", and_then_another)

    answer = local_api.get(f"{HERE}/bmap")
    assert (answer.status_code, answer.text) == (200, f"<bmap of='{IMAGE_ID}'/>")


def test_what_an_owner_may_change_is_no_tampering(api: Client, database: Database) -> None:
    publish(database)
    renamed = observation(name="another", visibility="public", observed_at=NOON + timedelta(hours=1))
    observe(database, renamed)

    manifest = api.get(HERE).json()
    assert (manifest["status"], manifest["name"]) == ("ready", "another")
    assert not audited(database).findings


def test_a_deleted_image_s_manifest_is_checked_too(api: Client, database: Database) -> None:
    publish(database)
    observe(database, observation(status="deleted", deleted=True, observed_at=NOON + timedelta(hours=1)))
    assert not audited(database).findings
    assert api.get(HERE).json()["manifest"]["digests"] == {"sha256": SHA256}

    tamper(database, lambda signed: signed.edit(virtual_size=1))

    assert kinds(database) == [("tampered", "virtual_size")]
    gone = api.get(HERE)
    assert (gone.status_code, gone.json()["manifest"]["code"]) == (410, "manifest-tampered")
    assert api.get(f"{HERE}/revisions/1").json()["code"] == "manifest-tampered"


def test_an_unsigned_manifest_is_served_and_an_audit_names_it(api: Client, database: Database) -> None:
    publish(database, signer=None)

    assert api.get(HERE).json()["status"] == "ready"
    assert "statement" not in api.get(HERE).json()["links"]
    assert kinds(database) == [("unsigned", None)]
    assert audit.may_be_innocent(Kind.UNSIGNED, ())


def test_a_statement_that_was_taken_away_is_missed(database: Database) -> None:
    publish(database)
    publish(database, OTHER_ID)
    tamper(database, lambda signed: signed.take(ManifestStatement))

    assert [(finding.image_id, finding.kind) for finding in audited(database).findings] == [
        (IMAGE_ID, Kind.STATEMENT_MISSING)
    ]
    assert not audit.may_be_innocent(Kind.STATEMENT_MISSING, ())


def test_an_older_revision_that_is_served_again_is_noticed(api: Client, database: Database) -> None:
    publish(database)
    api.post(f"{HERE}/computations")
    finish(database, claimed(database), computed(), KEY)
    assert not audited(database).findings

    tamper(database, lambda signed: signed.edit_image(current_revision=1))

    assert [(finding.kind, finding.revision) for finding in audited(database).findings] == [(Kind.ROLLED_BACK, 2)]


def test_only_trusted_keys_count_where_some_are_given(database: Database) -> None:
    publish(database)

    assert kinds(database, KEY.public) == []
    assert kinds(database, OTHER_KEY.public) == [("unknown-key", None)]
    assert audit.may_be_innocent(Kind.UNKNOWN_KEY, [OTHER_KEY.public])
    # Whoever may write to the database can register a key, and sign what he edited with it.
    tamper(database, lambda signed: signed.edit(virtual_size=1))
    tamper(database, lambda signed: _sign_anew(signed, OTHER_KEY))
    assert kinds(database) == []
    assert kinds(database, KEY.public) == [("unknown-key", None)]


def _sign_anew(signed: Signed, key: PrivateKey) -> None:
    signed.sign(signed.payload.replace(b'"virtual_size":25165824', b'"virtual_size":1'), key)
    signed.edit_statement(key_id=key.public.key_id)
    registered = {"key_id": key.public.key_id, "public_key": key.public.pem, "first_used_at": NOON}
    signed.session.execute(insert(SigningKey).values(registered))


def test_an_audit_of_many_goes_part_by_part(local: Database) -> None:
    for number in range(5):
        publish(local, f"245a8fa1-0861-4783-9ffc-4e4b20f3fe8{number}")
    seen, last, parts = 0, 0, 0
    while True:
        part = local.transaction(lambda session: audit.audit_part(session, (), last, 2))  # noqa: B023
        if part.last is None:
            break
        seen, last, parts = seen + part.seen, part.last, parts + 1

    assert (seen, parts) == (5, 3)
    assert local.transaction(audit.count) == 5


def test_a_tampered_manifest_s_statement_is_still_served(local_api: Client, local: Database) -> None:
    publish(local)
    before = local_api.get(f"{HERE}/statement").text
    tamper(local, lambda signed: signed.edit(virtual_size=1))

    answer = local_api.get(f"{HERE}/statement")

    assert (answer.status_code, answer.text) == (200, before)
    assert envelope.verify(envelope.parse(answer.text), [KEY.public])
    (looked_up,) = local_api.post("/v1/lookups", json={"image_ids": [IMAGE_ID], "statements": True}).json()["manifests"]
    assert looked_up["statement"] == json.loads(before)
