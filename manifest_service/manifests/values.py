"""What flows between the rooms: frozen, and free of sessions and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from manifest_service.manifests.states import Status

HOLDS_DATA = frozenset({"active", "deactivated"})
"""Glance's image statuses under which the data is there and settled (an `importing` image may still lose it)."""

LARGE_SIZE = 2 << 30
"""Bytes from which a source is large: reading it takes twenty seconds from a store that gives 100 MB/s."""


def is_large(size: int | None) -> bool:
    """Whether a source of `size` bytes is one that small ones should not wait for. What is not known may be large."""
    return size is None or size >= LARGE_SIZE


@dataclass(frozen=True)
class ImageObservation:
    """What one notification, or one operator's call, says of an image at one moment: the domain event.

    size: bytes of the source. checksums: of the source, algorithm → hex. updated_at: Glance's own, in whole seconds;
    observed_at: when the message was made. Both are aware and in UTC. request_id: of the notification or call, for
    logs; it says nothing of the image.
    """

    image_id: str
    status: str
    updated_at: datetime
    observed_at: datetime
    name: str | None = None
    owner: str | None = None
    visibility: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    deleted_at: datetime | None = None
    request_id: str | None = None

    @property
    def holds_data(self) -> bool:
        """Whether the image's data is settled in its store."""
        return self.status in HOLDS_DATA and not self.deleted

    @property
    def order(self) -> str:
        """Sorts all observations of an image from old to new, the same way whatever order they arrive in.

        Glance's `updated_at` counts whole seconds and several messages share one, so the message's own time comes
        next; the content decides between what is left, so that no two listeners ever disagree.
        """
        said = {name: value for name, value in asdict(self).items() if name != "request_id"}
        content = json.dumps(said, sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{self.updated_at.isoformat()}|{self.observed_at.isoformat(timespec='microseconds')}|{digest}"


@dataclass(frozen=True)
class Task:
    """A manifest that a worker has claimed, with all it needs to compute it.

    lease: token of the claim. attempt: 1 for the first. expected_size: bytes; expected_checksums: algorithm → hex.
    is_large: the lane that it waited in. request_id: what has asked for it, for the log.
    """

    manifest_id: int
    image_id: str
    revision: int
    lease: str
    attempt: int
    disk_format: str | None
    container_format: str | None
    expected_size: int | None
    expected_checksums: Mapping[str, str]
    is_large: bool = False
    request_id: str | None = None


@dataclass(frozen=True)
class ComputedManifest:
    """What a computation found: all of a ready manifest that does not depend on who asked.

    Sizes in bytes; digests (of the disk) and source_checksums (of the source) are algorithm → hex. block_map: the
    disk's, as a bmap 2.0 document. read_from: kind of store, and how the image was found there; for the history.
    """

    disk_format: str
    virtual_size: int
    digests: Mapping[str, str]
    source_size: int
    source_checksums: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    block_map: str | None = None
    read_from: str | None = None


@dataclass(frozen=True)
class Progress:
    """Bytes of the disk that are done, and their total (0 until the disk is open)."""

    done: int
    total: int


@dataclass(frozen=True)
class ManifestRecord:
    """One revision of an image's manifest as the API shows it. Sizes in bytes, times in UTC.

    key_id: of the key that its statement is signed with; None where it has no statement. statement: its envelope, as
    JSON text, and block_map_sha256: of the block map, as signed; both where the row was checked against it.
    """

    image_id: str
    revision: int
    status: Status
    name: str | None
    owner: str | None
    visibility: str | None
    container_format: str | None
    cache_name: str
    disk_format: str | None
    code: str | None
    reason: str | None
    virtual_size: int | None
    digests: Mapping[str, str]
    source_size: int | None
    source_checksums: Mapping[str, str]
    warnings: tuple[str, ...]
    has_block_map: bool
    key_id: str | None
    progress: Progress | None
    created_at: datetime
    computed_at: datetime | None
    computed_by: str | None
    changed_at: datetime
    deleted_at: datetime | None
    imported_at: datetime | None
    statement: str | None = None
    block_map_sha256: str | None = None


@dataclass(frozen=True)
class HistoryEvent:
    """One line of an image's history. number: grows with each line. image_id: None where Glance does not say it."""

    number: int
    image_id: str | None
    kind: str
    at: datetime
    detail: Mapping[str, object]
