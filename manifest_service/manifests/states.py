"""The states of a manifest and how it moves between them.

pending --> computing --> ready | refused | failed
   ^            |
   +------------+  given back, or its worker died

any --> deleted, when Glance deletes the image
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a manifest stands. The values are part of the API."""

    PENDING = "pending"
    COMPUTING = "computing"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    DELETED = "deleted"


UNFINISHED = (Status.PENDING, Status.COMPUTING)


class EventKind(StrEnum):
    """What the history of an image is made of."""

    UPLOADED = "uploaded"
    RE_UPLOADED = "re-uploaded"
    IMMUTABILITY_VIOLATION = "immutability-violation"
    SOURCE_CHANGED = "source-changed"
    UPLOAD_REJECTED = "upload-rejected"
    COMPUTATION_REQUESTED = "computation-requested"
    COMPUTATION_STARTED = "computation-started"
    COMPUTATION_RETRIED = "computation-retried"
    COMPUTATION_RETURNED = "computation-returned"
    READY = "ready"
    SIGNED = "signed"
    REFUSED = "refused"
    FAILED = "failed"
    VERIFIED = "verified"
    IMPORTED = "imported"
    DELETED = "deleted"
    DELETIONS_HELD_BACK = "deletions-held-back"
    RESTORED = "restored"
    REPAIRED = "repaired"
