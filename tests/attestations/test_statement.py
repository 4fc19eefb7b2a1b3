"""The in-toto Statement: read as written, valid for in-toto's own library, and refused where it says too little."""

import json
import string
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from manifest_service.attestations.envelope import BadStatement
from manifest_service.attestations.statement import (
    MAX_REVISION,
    MAX_SIZE,
    PREDICATE_TYPE,
    Basis,
    DiskStatement,
    GlanceRecord,
    read_payload,
    write_payload,
)
from tests.attestations.values import statement
from tests.builders import IMAGE_ID

DOCUMENT: dict[str, Any] = json.loads(write_payload(statement()))

# What a database holds: no NUL, and no half of a surrogate pair.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_DIGESTS = st.dictionaries(
    st.text(string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=32),
    st.text("0123456789abcdef", min_size=8, max_size=128),
    max_size=4,
)
_STATEMENTS = st.builds(
    DiskStatement,
    image_id=st.uuids().map(str),
    revision=st.integers(1, MAX_REVISION),
    disk_format=_TEXT,
    virtual_size=st.integers(0, MAX_SIZE),
    digests=_DIGESTS.filter(bool),
    source_size=st.integers(0, MAX_SIZE),
    source_digests=_DIGESTS,
    computed_at=st.datetimes(timezones=st.just(UTC)),
    computed_by=_TEXT,
    attested_at=st.datetimes(timezones=st.just(UTC)),
    basis=st.sampled_from(Basis),
    glance=st.builds(GlanceRecord, *[st.none() | _TEXT] * 4),
    block_map_sha256=st.none() | st.just("a" * 64),
    warnings=st.lists(_TEXT, max_size=3).map(tuple),
)


@given(_STATEMENTS)
def test_a_statement_is_read_as_it_was_written(stated: DiskStatement) -> None:
    assert read_payload(write_payload(stated)) == stated


def test_in_toto_s_own_library_finds_it_valid() -> None:
    message = json_format.Parse(write_payload(statement()), statement_pb2.Statement())
    read = Statement.copy_from_pb(message)

    read.validate()
    assert read.pb.predicate_type == PREDICATE_TYPE
    assert dict(read.pb.subject[0].digest) == dict(statement().digests)
    assert read.pb.subject[0].name == statement().cache_name


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(write_payload(statement()))
    edit(document)
    return json.dumps(document).encode()


def put(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


def paths(document: Any, before: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to each member of a document."""
    found = [before] if before else []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items if isinstance(document, dict | list) else ():
        found += paths(value, (*before, key)) if isinstance(value, dict | list) else [(*before, key)]
    return found


@pytest.mark.parametrize("path", paths(DOCUMENT))
@pytest.mark.parametrize("value", [[], {"a": {}}, True, 1.5, -1, "\ud800", 2**80])
def test_a_member_of_another_kind_is_refused_or_read_as_itself(path: tuple[str | int, ...], value: object) -> None:
    try:
        read = read_payload(edited(put(*path, value=value)))
    except BadStatement:
        return
    # No warnings, and no member of these that we know: all is as if they were not there.
    assert read == statement(warnings=()) or read == statement(glance=GlanceRecord())


@pytest.mark.parametrize(
    "edit",
    [
        put("_type", value="https://in-toto.io/Statement/v0.1"),
        put("predicateType", value="https://slsa.dev/provenance/v1"),
        put("subject", value=[]),
        put("subject", value=DOCUMENT["subject"] * 2),
        put("subject", 0, "digest", value={}),
        put("subject", 0, "digest", value={"sha256": "ABCDEF0123"}),
        put("subject", 0, "digest", value={"SHA 256": "abcdef0123"}),
        put("subject", 0, "name", value="0" * 40),
        put("predicate", "cache_name", value="0" * 40),
        put("predicate", "image_id", value="245A8FA1-0861-4783-9FFC-4E4B20F3FE80"),
        put("predicate", "image_id", value="00000000-0000-0000-0000-000000000000"),
        put("predicate", "revision", value=0),
        put("predicate", "virtual_size", value=2**63),
        put("predicate", "computed_at", value="2026-11-25"),
        put("predicate", "computed_at", value="2026-11-25T12:00:00"),
        put("predicate", "computed_at", value="0001-01-01T00:00:00+23:00"),
        put("predicate", "computed_at", value="yesterday"),
        put("predicate", "basis", value="hearsay"),
        put("predicate", "basis", value=[]),
        put("predicate", "block_map", value={"sha256": "00"}),
        put("predicate", "warnings", value=["x"] * 10001),
        put("predicate", value=None),
        lambda document: document["predicate"].pop("virtual_size"),
    ],
)
def test_a_statement_that_says_too_little_or_otherwise_is_refused(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(BadStatement):
        read_payload(edited(edit))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"_type": 1, "_type": 1}'])
def test_what_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(BadStatement):
        read_payload(payload)


def test_members_of_a_later_version_are_passed_over() -> None:
    assert read_payload(edited(put("predicate", "more", value={"x": 1.5}))) == statement()


def test_the_name_in_base_follows_from_the_image_id() -> None:
    assert statement().cache_name == "ddbb83fcbcb3df5125bbe7c7ad9a5772b876512f"
    assert statement().image_id == IMAGE_ID
