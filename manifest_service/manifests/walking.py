"""Going through all current manifests, part by part: nobody who is slow to take them holds the database."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sqlalchemy import select

from manifest_service.manifests import queries
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Manifest, ManifestBlockMap
from manifest_service.manifests.queries import ManifestFilter, Order
from manifest_service.manifests.tampering import is_stated_block_map
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import Visibility

PART = 500
"""Manifests that are read in one transaction, and are in memory: a few MiB with their statements."""
_OLDEST_FIRST = Order(descending=False)


def walk(
    database: Database, seen_by: Visibility, wanted: ManifestFilter, part: int = PART
) -> Iterator[list[ManifestRecord]]:
    """Go through the current manifests in the order in which their images were first seen, each image once.

    Each part is read in a transaction of its own, and none is open while the caller has a part: what is read is what
    holds at that moment, and images that are announced meanwhile come at the end. Raises DatabaseAway.
    """
    marker: str | None = None
    while True:
        last = marker
        records = database.transaction(
            lambda session: queries.list_current(session, seen_by, wanted, part, last, _OLDEST_FIRST)  # noqa: B023
        )
        if records:
            yield records
        if len(records) < part:
            return
        marker = records[-1].image_id


def count(database: Database, seen_by: Visibility, wanted: ManifestFilter) -> int:
    """How many manifests there are to go through now. Raises DatabaseAway."""
    return database.transaction(lambda session: queries.count_current(session, seen_by, wanted))


def read_block_map(database: Database, record: ManifestRecord) -> str | None:
    """The block map of just this revision, as a bmap 2.0 document. Raises DatabaseAway.

    None where it has none, or where the one that is there is not the one that was signed.
    """
    if not record.has_block_map:
        return None
    query = (
        select(ManifestBlockMap.document)
        .join(Manifest, Manifest.id == ManifestBlockMap.manifest_id)
        .where(Manifest.image_id == record.image_id, Manifest.revision == record.revision)
    )
    try:
        document = database.transaction(lambda session: session.scalar(query))
    except (zlib.error, UnicodeDecodeError):
        return None  # Somebody put something else there.
    return document if document is not None and is_stated_block_map(record, document) else None
