"""Lines of a bundle, as strangers may write them: taken as what they are, or a sentence; never anything else."""

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifest_service.attestations.envelope import sign
from manifest_service.attestations.statement import DiskStatement, write_payload
from manifest_service.manifests import imports
from manifest_service.manifests.database import Database
from manifest_service.manifests.imported import ImportedManifest
from manifest_service.processing import bundle
from manifest_service.processing.bundle import PassedOver, Read, lines_of, read_line
from manifest_service.processing.bundle_fields import BadLine
from tests.builders import IMAGE_ID, MD5, NOON, SHA256, claimed, current, new_key, observation, observe

KEY = new_key()
OTHER = "00000000-0000-4000-8000-000000000001"
DOCUMENT: dict[str, Any] = {
    "image_id": IMAGE_ID,
    "revision": 3,
    "status": "ready",
    "code": None,
    "reason": None,
    "name": "q1",
    "disk_format": "qcow2",
    "virtual_size": 25165824,
    "digests": {"sha256": SHA256},
    "source": {"size": 2949120, "checksums": {"md5": MD5}},
    "warnings": ["odd"],
    "computed_at": "2026-11-23T12:00:00Z",
    "computed_by": "manifest-service 0.1.0",
    "deleted_at": None,
}


def statement(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "image_id": IMAGE_ID,
        "revision": 3,
        "disk_format": "qcow2",
        "virtual_size": 25165824,
        "digests": {"sha256": SHA256},
        "source_size": 2949120,
        "source_digests": {"md5": MD5},
        "computed_at": NOON,
        "computed_by": "manifest-service 0.1.0",
        "attested_at": NOON,
        "warnings": ("odd",),
    }
    return sign(write_payload(DiskStatement(**values | changes)), KEY).as_json()


def read(trusted: bool = True, unsigned: bool = False, **changes: Any) -> Read:
    line = json.dumps(DOCUMENT | changes).encode()
    return read_line(line, [KEY.public] if trusted else [], unsigned=unsigned)


def taken(found: Read) -> ImportedManifest:
    assert isinstance(found.found, ImportedManifest)
    return found.found


def test_what_is_signed_is_taken_whatever_stands_beside_it() -> None:
    whole = read(statement=statement())
    assert whole.told == ""
    assert taken(whole).digests == {"sha256": SHA256}

    edited = read(statement=statement(), name="evil", digests={"sha256": "00" * 32}, disk_format=7, warnings="none")
    assert taken(edited) == taken(whole)
    assert edited.told == "what it says of its digests is not what was signed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"statement": None}, PassedOver.UNSIGNED),
        ({"statement": {}}, PassedOver.UNVERIFIED),
        ({"statement": "text"}, PassedOver.UNVERIFIED),
        ({"statement": statement(image_id=OTHER)}, PassedOver.UNVERIFIED),
        ({"statement": statement() | {"payload": "e30="}}, PassedOver.UNVERIFIED),
        ({"status": "refused"}, PassedOver.REFUSED),
        ({"status": "pending", "digests": {}}, PassedOver.WITHOUT_DIGESTS),
        ({"status": "failed", "digests": {}}, PassedOver.WITHOUT_DIGESTS),
        ({"status": "deleted", "digests": {}}, PassedOver.WITHOUT_DIGESTS),
    ],
)
def test_what_nobody_vouches_for_is_left_out(changes: dict[str, Any], why: PassedOver) -> None:
    assert read(**changes).found is why


def test_what_an_unknown_key_has_signed_is_left_out() -> None:
    line = json.dumps(DOCUMENT | {"statement": statement()}).encode()

    found = read_line(line, [new_key().public], unsigned=False)

    assert found.found is PassedOver.UNVERIFIED
    assert KEY.public.key_id[:16] in found.told


def test_documents_are_taken_as_they_are_where_that_is_asked_for() -> None:
    found = taken(read(trusted=False, unsigned=True, statement=statement(digests={"sha256": "00" * 32})))
    assert (found.digests, found.statement, found.key) == ({"sha256": SHA256}, None, None)
    refused = taken(read(trusted=False, unsigned=True, status="refused", code="backing-file", digests={}))
    assert (refused.status, refused.code) == ("refused", "backing-file")
    pending = read(trusted=False, unsigned=True, status="pending", digests={})
    assert pending.found is PassedOver.WITHOUT_DIGESTS


def test_a_block_map_is_taken_where_it_was_signed() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert taken(read(statement=statement(block_map_sha256=empty), bmap="")).block_map == ""
    for stated in (empty, None):
        odd = read(statement=statement(block_map_sha256=stated), bmap="<other/>")
        assert (taken(odd).block_map, odd.told) == (None, "its block map is not the one that was signed")


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": "x"},
        {"image_id": IMAGE_ID.upper()},
        {"image_id": None},
        {"status": "well"},
        {"status": ["ready"]},
        {"revision": 0},
        {"revision": True},
        {"revision": 2**30 + 1},
        {"virtual_size": -1},
        {"virtual_size": 2**63},
        {"virtual_size": "1"},
        {"digests": []},
        {"digests": {"sha256": "xyz"}},
        {"digests": {"sha256": "00" * 65}},
        {"digests": {"a" * 33: SHA256}},
        {"digests": {f"a{number}": SHA256 for number in range(65)}},
        {"source": None},
        {"name": "x" * 256},
        {"name": "\0"},
        {"name": "\ud800"},
        {"name": ["x"]},
        {"warnings": ["x"] * 1001},
        {"warnings": {"a": 1}},
        {"warnings": [1]},
        {"computed_at": "noon"},
        {"computed_at": "2026-11-23T12:00:00"},
        {"computed_at": "0001-01-01T00:00:00+23:59"},
        {"computed_at": "1969-12-31T00:00:00Z"},
        {"computed_at": 1},
        {"status": "deleted"},
        {"status": "refused", "code": None},
        {"status": "refused", "code": "Not A Code"},
        {"bmap": "<bmap/>"},
        {"bmap": 1},
    ],
)
def test_what_cannot_be_is_a_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(BadLine):
        read(trusted=False, unsigned=True, **changes)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"1" * 10000,
        b"[" * 90_000,
        b"[" + b"[]," * 200_000 + b"[]]",
        b'{"image_id": 1, "image_id": 2}',
        b'{"virtual_size": NaN}',
        None,
    ],
)
def test_a_line_that_is_no_manifest_is_a_sentence(line: bytes | None) -> None:
    with pytest.raises(BadLine):
        read_line(line, [KEY.public], unsigned=True)


@pytest.mark.parametrize("changes", [{"disk_format": "x" * 33}, {"computed_by": "\0"}, {"revision": 2**30 + 1}])
def test_what_is_signed_must_fit_all_the_same(changes: dict[str, Any]) -> None:
    with pytest.raises(BadLine):
        read(statement=statement(**changes))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(member=st.sampled_from([*DOCUMENT, "statement", "bmap"]), value=JSON, signed=st.booleans())
@pytest.mark.slow
def test_whatever_a_member_is(local: Database, member: str, value: object, signed: bool) -> None:
    document = DOCUMENT | ({"statement": statement()} if signed else {}) | {member: value}
    try:
        found = read_line(json.dumps(document).encode(), [KEY.public], unsigned=True)
    except BadLine:
        return
    if isinstance(found.found, ImportedManifest):
        manifest = found.found
        local.transaction(lambda session: imports.take_in(session, [manifest]))


def test_the_largest_values_are_stored(database: Database) -> None:
    largest = {
        "revision": bundle.LARGEST_REVISION,
        "name": "漢" * 254 + "😀",
        "disk_format": "x" * 32,
        "virtual_size": 2**63 - 1,
        "digests": {f"{number:032}": "ab" * 64 for number in range(64)},
        "source": {"size": 2**63 - 1, "checksums": {"x" * 32: "cd" * 64}},
        "warnings": ["x" * 10_000] * 100,
        "computed_at": "9999-12-31T23:59:59.999999Z",
        "computed_by": "x" * 255,
    }
    found = taken(read(trusted=False, unsigned=True, **largest))

    database.transaction(lambda session: imports.take_in(session, [found]))

    record = current(database)
    assert record is not None
    assert (record.name, record.virtual_size, record.digests) == (found.name, found.virtual_size, found.digests)
    assert record.computed_at == found.computed_at

    observe(database, observation())  # Our own Glance has it, too: it is computed here.
    assert claimed(database).revision == bundle.LARGEST_REVISION + 1


def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LONGEST_LINE", 8)
    file = io.BytesIO(b"short\n" + b"\n" + b"x" * 100 + b"\n" + b"1234567\n" + b"12345678\n" + b"end")

    assert list(lines_of(file)) == [
        (b"short\n", 6),
        (b"\n", 1),
        (None, 101),
        (b"1234567\n", 8),
        (None, 9),
        (b"end", 3),
    ]
