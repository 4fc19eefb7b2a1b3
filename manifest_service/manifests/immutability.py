"""Glance promises that the bytes of an image never change under its id. Where they do, the history says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from manifest_service.manifests.history import add_event
from manifest_service.manifests.models import Event, Manifest
from manifest_service.manifests.states import EventKind, Status


@dataclass(frozen=True)
class Content:
    """What names an image's bytes: their number, and checksums as algorithm → hex; None and absent: not known."""

    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)

    def contradictions(self, other: Content) -> dict[str, Any]:
        """Where the two cannot name the same bytes: `size` or algorithm → the value of each. Empty where they may."""
        pairs = {"size": (self.size, other.size)}
        pairs |= {name: (value, other.checksums.get(name)) for name, value in self.checksums.items()}  # type: ignore[misc]
        return {
            name: {"before": before, "now": now}
            for name, (before, now) in pairs.items()
            if before is not None and now is not None and before != now
        }


def expected_content(manifest: Manifest) -> Content:
    """What Glance had recorded when the manifest was asked for."""
    return Content(manifest.expected_size, manifest.expected_checksums)


def read_content(manifest: Manifest) -> Content:
    """What a ready manifest was computed from."""
    return Content(manifest.source_size, manifest.source_checksums)


def report(session: Session, image_id: str, place: str, detail: Mapping[str, Any], now: datetime) -> None:
    """Write a violation down, unless it is the one that was written down last.

    place: where it shows, `glance` (its record) or `store` (the bytes).
    """
    if detail.get("differs") and _is_known(session, image_id, place, detail["differs"]):
        return
    add_event(session, image_id, EventKind.IMMUTABILITY_VIOLATION, now, {"place": place, **detail})


def _is_known(session: Session, image_id: str, place: str, differs: Mapping[str, Any]) -> bool:
    """Whether the image's last violation is this one: whoever looks next finds the same."""
    last = session.scalar(
        select(Event)
        .where(Event.image_id == image_id, Event.kind == EventKind.IMMUTABILITY_VIOLATION)
        .order_by(Event.id.desc())
        .limit(1)
    )
    return last is not None and (last.detail.get("place"), last.detail.get("differs")) == (place, dict(differs))


def report_other_bytes(session: Session, manifest: Manifest, found: Content | None, reason: str, now: datetime) -> None:
    """Report a manifest whose bytes in the store are others than those of its last ready revision.

    Nothing is reported where Glance's own record has changed since: that was reported when it did.
    found: what the bytes are now; None where it is only known that they are not what Glance recorded.
    """
    if manifest.revision == 1:
        return
    before = session.scalar(
        select(Manifest)
        .where(
            Manifest.image_id == manifest.image_id,
            Manifest.revision < manifest.revision,
            Manifest.status == Status.READY,
        )
        .order_by(Manifest.revision.desc())
        .limit(1)
    )
    if before is None or expected_content(before).contradictions(expected_content(manifest)):
        return
    differs = None if found is None else read_content(before).contradictions(found)
    if differs or found is None:
        detail = {"revision": manifest.revision, "reason": reason}
        report(session, manifest.image_id, "store", detail | ({"differs": differs} if differs else {}), now)
