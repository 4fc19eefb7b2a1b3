"""The DSSE envelope: bytes, what they are, and signatures of both (https://github.com/secure-systems-lab/dsse).

The signed bytes travel as they are and are never made anew from what was read, so that nothing has to be canonical. The
key id in a signature is a hint, which anybody can write: what counts is whether a trusted key made the signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manifest_service.attestations import strict_json
from manifest_service.attestations.keys import PrivateKey, PublicKey
from manifest_service.errors import ManifestServiceError, StatementCode

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What in-toto's envelopes hold (https://github.com/in-toto/attestation, spec/v1/envelope.md)."""
MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
"""Of the envelope itself, as other tools that store and serve envelopes call it."""
MAX_ENVELOPE = 1 << 20
"""Bytes of an envelope. One of ours has about 3 KiB, and more where there are many warnings."""
MAX_SIGNATURES = 16
"""Signatures that are looked at, since each is tried with each trusted key."""
_MAX_HINT = 256


class BadStatement(ManifestServiceError):
    """What should be a signed statement is none, or not about what it should be about."""

    def __init__(self, reason: str) -> None:
        super().__init__(StatementCode.BAD_STATEMENT, reason)


class NotVerified(ManifestServiceError):
    """No trusted key has signed it."""

    def __init__(self, reason: str) -> None:
        super().__init__(StatementCode.NOT_VERIFIED, reason)


@dataclass(frozen=True)
class Signature:
    """key_id: says which key to try; nobody has signed it. value: 64 bytes, for Ed25519."""

    key_id: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """payload: the bytes that were signed, together with their type."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """DSSE's pre-authentication encoding: what a signature is of."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def as_json(self) -> dict[str, Any]:
        """The envelope as a JSON object."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": each.key_id, "sig": base64.b64encode(each.value).decode()} for each in self.signatures
            ],
        }

    def as_text(self) -> str:
        """The envelope as one line of JSON."""
        return json.dumps(self.as_json(), separators=(",", ":"))


def sign(payload: bytes, key: PrivateKey) -> Envelope:
    """Put an in-toto Statement into an envelope, with one signature."""
    unsigned = Envelope(payload, PAYLOAD_TYPE, ())
    signature = Signature(key.public.key_id, key.sign(unsigned.signed_bytes))
    return Envelope(payload, PAYLOAD_TYPE, (signature,))


def verify(envelope: Envelope, trusted: Iterable[PublicKey]) -> PublicKey:
    """The trusted key that has signed it; one signature of one such key is enough. Raises NotVerified."""
    signed = envelope.signed_bytes
    by_id = {key.key_id: key for key in trusted}
    for signature in envelope.signatures:
        # The key that the hint names comes first, and then all others: a wrong hint makes no signature wrong.
        hinted = [by_id[signature.key_id]] if signature.key_id in by_id else []
        others = [key for key in by_id.values() if key.key_id != signature.key_id]
        for key in (*hinted, *others):
            if key.has_signed(signed, signature.value):
                return key
    hints = ", ".join(sorted({_told(each.key_id) for each in envelope.signatures})) or "no key at all"
    raise NotVerified(f"the statement is not signed by a trusted key; it says it is signed by {hints}")


def parse(text: bytes | str) -> Envelope:
    """Read an envelope from JSON text. Raises BadStatement."""
    try:
        document = strict_json.loads(text, MAX_ENVELOPE)
    except ValueError as error:
        raise BadStatement(f"an envelope should be JSON: {error}") from error
    return read(document)


def read(document: object) -> Envelope:
    """Read an envelope from a JSON object; members that we do not know are passed over. Raises BadStatement."""
    if not isinstance(document, Mapping):
        raise BadStatement(f"an envelope should be a JSON object; this is a {type(document).__name__}")
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise BadStatement(f"an envelope should have 1 to {MAX_SIGNATURES} signatures")
    payload_type = document.get("payloadType")
    if payload_type != PAYLOAD_TYPE:
        raise BadStatement(f"an envelope's payloadType should be {PAYLOAD_TYPE}")
    payload = _decode(document.get("payload"), "payload", MAX_ENVELOPE)
    return Envelope(payload, PAYLOAD_TYPE, tuple(_read_signature(each) for each in signatures))


def _read_signature(document: object) -> Signature:
    if not isinstance(document, Mapping):
        raise BadStatement(f"a signature should be a JSON object; this is a {type(document).__name__}")
    hint = document.get("keyid")
    if not isinstance(hint, str | None) or len(hint or "") > _MAX_HINT:
        raise BadStatement(f"a signature's keyid should be a text of {_MAX_HINT} characters at most")
    return Signature(hint or "", _decode(document.get("sig"), "sig", _MAX_HINT))


def _decode(value: object, member: str, longest: int) -> bytes:
    """Decode base64, either alphabet, as DSSE wants it; but only the one text that stands for the bytes."""
    if not isinstance(value, str) or len(value) > longest:
        raise BadStatement(f"an envelope's {member} should be base64 of {longest} characters at most")
    standard = value.replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(standard.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadStatement(f"an envelope's {member} is not base64") from error
    if base64.b64encode(decoded).decode() != standard:
        raise BadStatement(f"an envelope's {member} is base64 with bits left over")
    return decoded


def _told(hint: str) -> str:
    """A key id in a message: it may be anything."""
    shown = hint[:16]
    return shown if shown.isascii() and shown.isalnum() else "an unnamed key"
