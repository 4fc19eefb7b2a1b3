"""What comes from another site, beside what is here of the same image: does it bring anything, or contradict it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from manifest_service.attestations.keys import PublicKey
from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import Status


@dataclass(frozen=True)
class ImportedManifest:
    """What is to be taken in of one image, every value checked.

    Sizes in bytes, digests and checksums as algorithm → hex. status: `ready` or `refused`. deleted_at: when the other
    site's Glance deleted the image. statement: its envelope as JSON text, verified with `key`; both or neither.
    block_map: a bmap 2.0 document; where there is a statement, the signed one.
    """

    image_id: str
    revision: int
    status: Status
    name: str | None = None
    owner: str | None = None
    visibility: str | None = None
    container_format: str | None = None
    disk_format: str | None = None
    virtual_size: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    source_size: int | None = None
    source_checksums: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    code: str | None = None
    reason: str | None = None
    computed_at: datetime | None = None
    computed_by: str | None = None
    deleted_at: datetime | None = None
    block_map: str | None = None
    statement: str | None = None
    key: PublicKey | None = None

    def contradiction(self, kept: Kept) -> str | None:
        """In what this says something else of the disk than a manifest that is here; None where both may be true."""
        pairs: list[tuple[str, object, object]] = [("virtual_size", self.virtual_size, kept.manifest.virtual_size)]
        pairs += [(algorithm, value, kept.digests.get(algorithm)) for algorithm, value in self.digests.items()]
        for name, theirs, ours in pairs:
            if theirs is not None and ours is not None and theirs != ours:
                return f"its {name} is {theirs}; revision {kept.manifest.revision} here has {ours}"
        return None


@dataclass(frozen=True)
class Kept:
    """A revision that is here, with what belongs to it."""

    manifest: Manifest
    digests: Mapping[str, str]
    statement: str | None
    has_block_map: bool


def replaces(found: ImportedManifest, served: Kept) -> bool:
    """Whether it is to be served in place of what is; what is ready never gives way to a refusal."""
    is_newer = found.revision > served.manifest.revision
    return is_newer and (found.status is Status.READY or served.manifest.status != Status.READY)


def deletes(found: ImportedManifest, image: Image) -> bool:
    """Whether it brings news of the image's deletion."""
    return found.deleted_at is not None and image.deleted_at is None


def adds(found: ImportedManifest, image: Image, same: Kept) -> bool:
    """Whether it brings something that is missing to a revision that is here."""
    return deletes(found, image) or adds_statement(found, same) or adds_block_map(found, same)


def adds_statement(found: ImportedManifest, same: Kept) -> bool:
    """Whether it has the statement of a revision that came without; the row must be what was signed, value by value."""
    manifest = same.manifest
    return (
        found.statement is not None
        and same.statement is None
        and dict(found.digests) == dict(same.digests)
        and (found.disk_format, found.virtual_size) == (manifest.disk_format, manifest.virtual_size)
        and (found.source_size, dict(found.source_checksums)) == (manifest.source_size, manifest.source_checksums)
        and list(found.warnings) == manifest.warnings
        and (found.computed_at, found.computed_by) == (manifest.computed_at, manifest.computed_by)
    )


def adds_block_map(found: ImportedManifest, same: Kept) -> bool:
    """Whether it has the map of a revision that came without; the statement, if any, says that it is the right one."""
    return found.block_map is not None and not same.has_block_map and found.statement == same.statement


def is_new_revision(found: ImportedManifest, image: Image, revisions: Mapping[int, Kept]) -> bool:
    """Whether it is a revision that is not here, and is to be served."""
    served = revisions.get(image.current_revision or 0)
    return found.revision not in revisions and (served is None or replaces(found, served))
