"""DSSE envelopes: verified by an independent implementation, and refused where anything is wrong with them."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from manifest_service.attestations import envelope
from manifest_service.attestations.envelope import BadStatement, Envelope, NotVerified, Signature
from manifest_service.attestations.keys import PublicKey, read_public_key
from manifest_service.attestations.statement import write_payload
from tests.attestations.values import statement
from tests.builders import new_key

KEY = new_key()
OTHER_KEY = new_key()
PAYLOAD = write_payload(statement())
SIGNED = envelope.sign(PAYLOAD, KEY)


def other_implementation_s(key: PublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(load_pem_public_key(key.pem.encode()), keyid=key.key_id)


def changed(**changes: Any) -> dict[str, Any]:
    return SIGNED.as_json() | changes


def test_securesystemslib_verifies_what_we_sign() -> None:
    read = OtherEnvelope.from_dict(json.loads(SIGNED.as_text()))

    assert set(read.verify([other_implementation_s(KEY.public)], 1)) == {KEY.public.key_id}
    assert read.payload == PAYLOAD
    assert read.pae() == SIGNED.signed_bytes
    with pytest.raises(VerificationError):
        read.verify([other_implementation_s(OTHER_KEY.public)], 1)


def test_we_verify_what_securesystemslib_signs() -> None:
    signer = CryptoSigner.generate_ed25519()
    made = OtherEnvelope(PAYLOAD, envelope.PAYLOAD_TYPE, {})
    made.sign(signer)
    pem = signer.public_key.keyval["public"]
    key = read_public_key(pem if "BEGIN" in pem else _pem_of(bytes.fromhex(pem)))

    read = envelope.parse(json.dumps(made.to_dict()))

    assert envelope.verify(read, [OTHER_KEY.public, key]) is key
    assert read.payload == PAYLOAD


def _pem_of(raw: bytes) -> str:
    der = bytes.fromhex("302a300506032b6570032100") + raw
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"


def test_the_specification_s_example_is_encoded_as_it_says() -> None:
    example = Envelope(b"hello world", "http://example.com/HelloWorld", ())

    assert example.signed_bytes == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_is_read_as_it_was_written() -> None:
    assert envelope.parse(SIGNED.as_text()) == SIGNED
    assert envelope.parse(SIGNED.as_text().encode()) == SIGNED
    assert envelope.verify(SIGNED, [KEY.public]) is KEY.public


def test_only_a_trusted_key_counts() -> None:
    with pytest.raises(NotVerified, match=f"says it is signed by {KEY.public.key_id[:16]}"):
        envelope.verify(SIGNED, [OTHER_KEY.public])
    with pytest.raises(NotVerified):
        envelope.verify(SIGNED, [])
    with pytest.raises(NotVerified, match="an unnamed key"):
        envelope.verify(Envelope(PAYLOAD, envelope.PAYLOAD_TYPE, (Signature("\x1b[31m", b"x" * 64),)), [KEY.public])


def test_the_key_id_is_only_a_hint() -> None:
    value = SIGNED.signatures[0].value
    for hint in ("", "nonsense", OTHER_KEY.public.key_id):
        hinted = Envelope(PAYLOAD, envelope.PAYLOAD_TYPE, (Signature(hint, value),))
        assert envelope.verify(hinted, [OTHER_KEY.public, KEY.public]) is KEY.public
    lying = Envelope(PAYLOAD, envelope.PAYLOAD_TYPE, (Signature(KEY.public.key_id, OTHER_KEY.sign(b"x")),))
    with pytest.raises(NotVerified):
        envelope.verify(lying, [KEY.public])


def test_one_good_signature_among_others_is_enough() -> None:
    bad = Signature(KEY.public.key_id, b"\0" * 64)
    both = Envelope(PAYLOAD, envelope.PAYLOAD_TYPE, (bad, *SIGNED.signatures, Signature("x", b"")))

    assert envelope.verify(envelope.parse(both.as_text()), [KEY.public]) is KEY.public


def test_another_payload_type_is_another_message() -> None:
    relabelled = Envelope(PAYLOAD, "text/plain", SIGNED.signatures)

    with pytest.raises(NotVerified):
        envelope.verify(relabelled, [KEY.public])


def test_either_base64_is_read_and_only_one_text_of_each() -> None:
    payload = b"\xfb\xff\xfe" * 5 + b"x"
    signed = envelope.sign(payload, KEY)
    text = base64.urlsafe_b64encode(payload).decode()
    assert "-" in text
    assert envelope.read(signed.as_json() | {"payload": text}).payload == payload
    left_over = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    for bad in (left_over, text.rstrip("="), text + "\n", f" {text}", text + "====", "é" * 8, "A"):
        with pytest.raises(BadStatement, match="base64"):
            envelope.read(signed.as_json() | {"payload": bad})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        changed(signatures=[]),
        changed(signatures={}),
        changed(signatures=None),
        changed(signatures=[1]),
        changed(signatures=[{}]),
        changed(signatures=[{"sig": 5}]),
        changed(signatures=[{"sig": "!"}]),
        changed(signatures=[{"sig": "A" * 1000}]),
        changed(signatures=[{"keyid": 7, "sig": ""}]),
        changed(signatures=[{"keyid": "x" * 1000, "sig": ""}]),
        changed(signatures=SIGNED.as_json()["signatures"] * 17),
        changed(payload=5),
        changed(payload=None),
        changed(payload=["x"]),
        changed(payloadType="application/json"),
        changed(payloadType=None),
    ],
)
def test_what_is_no_envelope_is_refused(document: object) -> None:
    with pytest.raises(BadStatement):
        envelope.read(document)
    with pytest.raises(BadStatement):
        envelope.parse(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"payload":' * 5000,
        "9" * 10_000,
        f'{{"n": {"9" * 21}, {SIGNED.as_text()[1:]}',
        f'{{"n": NaN, {SIGNED.as_text()[1:]}',
        f'{{"payload": "", {SIGNED.as_text()[1:]}',
        f'{{"n": {{"a": 1, "a": 1}}, {SIGNED.as_text()[1:]}',
        f'{{"n": "{"x" * envelope.MAX_ENVELOPE}", {SIGNED.as_text()[1:]}',
        b"\xff\xfe\xff",
        b"\xef\xbb\xbf{}",
    ],
)
def test_text_that_no_two_readers_would_read_alike_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadStatement):
        envelope.parse(text)


def test_members_that_we_do_not_know_are_passed_over() -> None:
    assert envelope.read(changed(more={"x": [1.5, True, None]})) == SIGNED


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON, st.sampled_from(["payload", "payloadType", "signatures"]))
def test_any_json_is_read_or_refused_and_never_verified(value: object, member: str) -> None:
    for document in (value, changed(**{member: value})):
        try:
            read = envelope.parse(json.dumps(document))
        except BadStatement:
            continue
        with pytest.raises(NotVerified):
            envelope.verify(read, [KEY.public])


@given(st.integers(0, len(SIGNED.as_text()) - 1), st.integers(0, 255))
def test_no_byte_can_be_changed_unnoticed(place: int, byte: int) -> None:
    text = bytearray(SIGNED.as_text().encode())
    text[place] = byte
    try:
        read = envelope.parse(bytes(text))
        envelope.verify(read, [KEY.public])
    except (BadStatement, NotVerified):
        return
    assert read.payload == PAYLOAD


@given(st.binary(max_size=300))
def test_what_is_signed_comes_back_whatever_it_is(payload: bytes) -> None:
    read = envelope.parse(envelope.sign(payload, KEY).as_text())

    assert envelope.verify(read, [KEY.public]) is KEY.public
    assert read.payload == payload
