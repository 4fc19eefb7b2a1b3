"""Manifests that are believed only as far as a trusted key has signed them, be network and database as they may.

What comes beside a statement only leads to it. Every value that a file is compared with is taken from what was signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from manifest_service.attestations import envelope
from manifest_service.attestations.envelope import BadStatement, NotVerified
from manifest_service.attestations.keys import PublicKey
from manifest_service.attestations.statement import DiskStatement, read_payload
from manifest_service.digests.bmap import BlockMap
from manifest_service.digests.digest import Digest
from manifest_service.node.expectations import DELETED, READY, UNSIGNED, UNTRUSTED, Expected, Manifests


class TrustedManifests:
    """Takes manifests from others, and passes on what trusted keys have signed of them."""

    def __init__(self, manifests: Manifests, trusted: Sequence[PublicKey]) -> None:
        """manifests: where they come from, with their statements. trusted: one of these must have signed each."""
        self._manifests = manifests
        self._trusted = tuple(trusted)

    def find_by_cache_names(self, cache_names: Iterable[str]) -> Mapping[str, Expected]:
        found = self._manifests.find_by_cache_names(cache_names)
        return {name: self._believed(expected, name) for name, expected in found.items()}

    def find_by_digest(self, digest: Digest) -> Expected | None:
        expected = self._manifests.find_by_digest(digest)
        if expected is None:
            return None
        believed = self._believed(expected, expected.cache_name)
        if believed.is_comparable and believed.digests.get(digest.algorithm) != digest.hex:
            return _unbelieved(expected, UNTRUSTED, f"its statement does not have the digest {digest}")
        return believed

    def block_map(self, expected: Expected) -> BlockMap | None:
        return self._manifests.block_map(expected)

    def _believed(self, expected: Expected, cache_name: str) -> Expected:
        """What is signed of the image whose file has this name.

        A statement of another image is no statement of this one, however well it is signed. An older revision's is: of
        that, nothing here can tell whether there is a newer one.
        """
        if expected.statement is None and expected.is_comparable:
            return _unbelieved(expected, UNSIGNED, "")
        if expected.statement is None:  # Nothing is known of the disk, and of the source only what nobody has signed.
            return replace(expected, virtual_size=None, digests={}, source_size=None, source_checksums={})
        try:
            parsed = envelope.read(expected.statement)
            envelope.verify(parsed, self._trusted)
            stated = read_payload(parsed.payload)
        except (BadStatement, NotVerified) as error:
            return _unbelieved(expected, UNTRUSTED, error.reason)
        if stated.cache_name != cache_name:
            return _unbelieved(expected, UNTRUSTED, f"its statement is of another image, {stated.image_id}")
        return _expected_of(stated, DELETED if expected.status == DELETED else READY)


def _expected_of(stated: DiskStatement, status: str) -> Expected:
    return Expected(
        image_id=stated.image_id,
        cache_name=stated.cache_name,
        status=status,
        revision=stated.revision,
        name=stated.glance.name,
        virtual_size=stated.virtual_size,
        digests=stated.digests,
        source_size=stated.source_size,
        source_checksums=stated.source_digests,
        has_block_map=stated.block_map_sha256 is not None,
        block_map_sha256=stated.block_map_sha256,
    )


def _unbelieved(expected: Expected, status: str, reason: str) -> Expected:
    """The image alone: none of the values, so that nothing can be compared with them."""
    return Expected(image_id=expected.image_id, cache_name=expected.cache_name, status=status, reason=reason)
