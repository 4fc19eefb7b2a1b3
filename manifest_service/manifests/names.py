"""Finding images by their names, as people do: by the whole name, or by how it begins."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from manifest_service.manifests import queries
from manifest_service.manifests.models import Image
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import Visibility, may_see

LONGEST = 255
"""Characters of the longest name that Glance takes."""
_LAST_CHARACTER = "\U0010ffff"


def find_by_name(session: Session, seen_by: Visibility, text: str, limit: int) -> list[ManifestRecord]:
    """Images of this name; where there are none, those whose name begins with it. At most `limit`, by name.

    A first letter that is capital where it should be small, or the other way round, is forgiven.
    """
    exact = queries.list_current(session, seen_by, queries.ManifestFilter(name=text), limit, None)
    return (
        exact
        or _beginning_with(session, seen_by, text, limit)
        or _beginning_with(session, seen_by, _turned(text), limit)
    )


def _beginning_with(session: Session, seen_by: Visibility, text: str, limit: int) -> list[ManifestRecord]:
    # Not sorted by the database: the first few in the index's order will do, and cost the same at any number of names.
    found = session.scalars(
        select(Image.image_id)
        .where(_begins(session, text), Image.current_revision.is_not(None), may_see(seen_by))
        .limit(limit)
    ).all()
    records = queries.find_by_image_ids(session, seen_by, found)
    return sorted(records, key=lambda record: (record.name or "", record.image_id))


def _begins(session: Session, text: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        # Its order of text may be a language's, which knows no range of names that begin alike.
        return Image.name.startswith(text, autoescape=True)
    # Elsewhere names sort by code point, and SQLite's LIKE would take capitals for small letters and use no index.
    return and_(Image.name >= text, Image.name < text + _LAST_CHARACTER)


def _turned(text: str) -> str:
    return text[:1].swapcase() + text[1:]
