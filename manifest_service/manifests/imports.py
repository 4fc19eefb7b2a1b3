"""Taking in what another site has found out, so that a site that reaches neither it nor its Glance can answer.

What this site's own Glance has announced is never overwritten. Of the images that came from elsewhere, the newest
revision is served; taking the same in twice changes nothing, so that an import that was interrupted is run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from manifest_service.manifests import intake, serving, statements
from manifest_service.manifests.database import database_now
from manifest_service.manifests.history import add_event
from manifest_service.manifests.imported import (
    ImportedManifest,
    Kept,
    adds,
    adds_block_map,
    adds_statement,
    deletes,
    is_new_revision,
    replaces,
)
from manifest_service.manifests.models import Image, Manifest, ManifestBlockMap, ManifestDigest, ManifestStatement
from manifest_service.manifests.states import EventKind, Status

ELSEWHERE = "elsewhere"
"""Stands in place of Glance's status of an image that our own Glance has not announced."""


class Outcome(StrEnum):
    """What came of one line. The values are part of the command's output."""

    NEW = "new"
    UPDATED = "updated"
    """A newer revision, a deletion, or a statement or block map that was missing."""
    KNOWN = "known"
    OWN = "own"
    """An image of this site's own Glance, left alone."""
    CONFLICT = "conflict"
    """What is here says something else, and was left as it is."""


@dataclass(frozen=True)
class Taken:
    """What came of one manifest. reason: of a conflict."""

    image_id: str
    revision: int
    outcome: Outcome
    reason: str = ""


def take_in(session: Session, found: Sequence[ImportedManifest], *, dry_run: bool = False) -> list[Taken]:
    """Take in manifests, each of another image, in the caller's transaction.

    dry_run: only say what would come of it.
    """
    now = database_now(session)
    images = {
        image.image_id: image
        for image in session.scalars(select(Image).where(Image.image_id.in_([each.image_id for each in found])))
    }
    kept = _revisions_of(session, images)
    taken = [_decide(each, images.get(each.image_id), kept.get(each.image_id, {})) for each in found]
    if not dry_run:
        pairs = zip(found, taken, strict=True)
        changes = [each for each, what in pairs if what.outcome in (Outcome.NEW, Outcome.UPDATED)]
        _write(session, changes, images, kept, now)
    return taken


def _revisions_of(session: Session, image_ids: Iterable[str]) -> dict[str, dict[int, Kept]]:
    """All revisions of these images: image id → revision → what is kept."""
    manifests = session.scalars(select(Manifest).where(Manifest.image_id.in_(list(image_ids)))).all()
    numbers = [manifest.id for manifest in manifests]
    digests: dict[int, dict[str, str]] = {}
    for row in session.scalars(select(ManifestDigest).where(ManifestDigest.manifest_id.in_(numbers))):
        digests.setdefault(row.manifest_id, {})[row.algorithm] = row.value
    stated = session.execute(
        select(ManifestStatement.manifest_id, ManifestStatement.envelope).where(
            ManifestStatement.manifest_id.in_(numbers)
        )
    )
    envelopes = {row.manifest_id: row.envelope for row in stated}
    mapped = set(session.scalars(select(ManifestBlockMap.manifest_id).where(ManifestBlockMap.manifest_id.in_(numbers))))
    kept: dict[str, dict[int, Kept]] = {}
    for manifest in manifests:
        kept.setdefault(manifest.image_id, {})[manifest.revision] = Kept(
            manifest, digests.get(manifest.id, {}), envelopes.get(manifest.id), manifest.id in mapped
        )
    return kept


def _decide(found: ImportedManifest, image: Image | None, revisions: Mapping[int, Kept]) -> Taken:
    if image is None:
        outcome, reason = Outcome.NEW, None
    elif image.imported_at is None:
        outcome, reason = _decide_own(found, revisions.get(image.current_revision or 0))
    elif found.revision in revisions:
        outcome, reason = _decide_same(found, image, revisions[found.revision])
    else:
        outcome, reason = _decide_other(found, image, revisions.get(image.current_revision or 0))
    return Taken(found.image_id, found.revision, outcome, reason or "")


def _decide_own(found: ImportedManifest, served: Kept | None) -> tuple[Outcome, str | None]:
    """Of an image that our own Glance has announced: nothing is taken, but both sites should say the same."""
    is_ready = served is not None and served.manifest.status == Status.READY
    reason = found.contradiction(served) if served is not None and is_ready else None
    return (Outcome.OWN if reason is None else Outcome.CONFLICT), reason


def _decide_same(found: ImportedManifest, image: Image, same: Kept) -> tuple[Outcome, str | None]:
    """Of a revision that is here: it never changes, but what is missing of it may come later."""
    status = same.manifest.status
    if status not in (Status.READY, Status.REFUSED):
        return Outcome.OWN, None  # Somebody has asked this site to compute it.
    reason = found.contradiction(same)
    if reason is not None or status != found.status:
        return Outcome.CONFLICT, reason or f"revision {found.revision} is {found.status} there, and {status} here"
    return (Outcome.UPDATED if adds(found, image, same) else Outcome.KNOWN), None


def _decide_other(found: ImportedManifest, image: Image, served: Kept | None) -> tuple[Outcome, str | None]:
    """Of a revision that is not here: a newer one is served from now on."""
    if served is not None and not replaces(found, served):
        return (Outcome.UPDATED if deletes(found, image) else Outcome.KNOWN), None
    if served is not None and served.statement is not None and found.statement is None:
        return Outcome.CONFLICT, f"it is not signed, and revision {served.manifest.revision} here is"
    return Outcome.UPDATED, None


def _write(
    session: Session,
    found: Sequence[ImportedManifest],
    images: dict[str, Image],
    kept: Mapping[str, Mapping[int, Kept]],
    now: datetime,
) -> None:
    """Write the changes table by table, so that each takes few statements."""
    new_images = [_image_of(each, now) for each in found if each.image_id not in images]
    session.add_all(new_images)
    session.flush()
    images |= {image.image_id: image for image in new_images}
    new = [each for each in found if is_new_revision(each, images[each.image_id], kept.get(each.image_id, {}))]
    manifests = [_manifest_of(each, now) for each in new]
    session.add_all(manifests)
    session.flush()
    for key in {each.key.key_id: each.key for each in found if each.key is not None}.values():
        statements.register_imported(session, key, now)
    for each, manifest in zip(new, manifests, strict=True):
        images[each.image_id].current_revision = each.revision
        for algorithm, value in each.digests.items():
            session.add(ManifestDigest(manifest_id=manifest.id, algorithm=algorithm, value=value))
        _add_statement(session, manifest.id, each)
        _add_block_map(session, manifest.id, each)
        _record(session, each, now)
    for each in found:
        same = kept.get(each.image_id, {}).get(each.revision)
        if same is not None:
            _complete(session, each, same, now)
        if deletes(each, images[each.image_id]):
            intake.mark_deleted(session, images[each.image_id], each.deleted_at or now, now)
    serving.refresh_all(session, [each.image_id for each in found], now)


def _complete(session: Session, found: ImportedManifest, same: Kept, now: datetime) -> None:
    """Add what is missing of a revision that is here."""
    number = same.manifest.id
    if adds_statement(found, same):
        # A map that came without the statement may be any.
        session.execute(delete(ManifestBlockMap).where(ManifestBlockMap.manifest_id == number))
        _add_statement(session, number, found)
        _add_block_map(session, number, found)
        _record(session, found, now)
    elif adds_block_map(found, same):
        _add_block_map(session, number, found)
        _record(session, found, now)


def _add_statement(session: Session, number: int, found: ImportedManifest) -> None:
    if found.statement is not None and found.key is not None:
        session.add(ManifestStatement(manifest_id=number, key_id=found.key.key_id, envelope=found.statement))


def _add_block_map(session: Session, number: int, found: ImportedManifest) -> None:
    if found.block_map is not None:
        session.add(ManifestBlockMap(manifest_id=number, document=found.block_map))


def _record(session: Session, found: ImportedManifest, now: datetime) -> None:
    """Say in the history what came, and whether anybody vouches for it."""
    detail: dict[str, object] = {"revision": found.revision, "digests": dict(found.digests)}
    detail["signed"] = found.key is not None
    if found.key is not None:
        detail["key_id"] = found.key.key_id
    add_event(session, found.image_id, EventKind.IMPORTED, now, detail)


def _image_of(found: ImportedManifest, now: datetime) -> Image:
    return Image(
        image_id=found.image_id,
        cache_name=intake.cache_name_of(found.image_id),
        name=found.name,
        owner=found.owner,
        visibility=found.visibility,
        disk_format=found.disk_format,
        container_format=found.container_format,
        size=found.source_size,
        checksums=dict(found.source_checksums),
        glance_status=ELSEWHERE,
        observed_order="",  # Whatever our own Glance says is newer.
        current_revision=found.revision,
        first_seen_at=now,
        changed_at=now,
        imported_at=now,
    )


def _manifest_of(found: ImportedManifest, now: datetime) -> Manifest:
    checksums = dict(found.source_checksums)
    return Manifest(
        image_id=found.image_id,
        revision=found.revision,
        status=found.status,
        code=found.code,
        reason=found.reason,
        expected_size=found.source_size,
        expected_checksums=checksums,
        disk_format=found.disk_format,
        virtual_size=found.virtual_size,
        source_size=found.source_size,
        source_checksums=checksums,
        warnings=list(found.warnings),
        created_at=now,
        updated_at=now,
        computed_at=found.computed_at,
        computed_by=found.computed_by,
    )
