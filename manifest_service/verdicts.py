"""The words for what a node says of a file, and for what it rests on: nodes report them, the API takes them in."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The values are part of the API and of the JSON output."""

    MATCH = "match"
    """It is the image's disk, byte for byte."""
    MATCH_UNCONVERTED = "match-unconverted"
    """It is the image's source, as Glance stores it: nobody has converted it."""
    MATCH_EXTENDED = "match-extended"
    """It is the image's disk, then only zeros: Nova grew it."""
    CORRUPT = "corrupt"
    """It should be the image's disk, and differs from it."""
    RESIZED = "resized"
    """A copy that Nova grew, and that differs from the image: a resized file system does so, and tampering, too."""
    UNKNOWN = "unknown"
    """Nothing is known that it could be compared with."""
    PENDING = "pending"
    """Its manifest is being computed."""
    CHANGED_WHILE_READING = "changed-while-reading"
    """Somebody wrote to it while it was read."""
    NOT_APPLICABLE = "not-applicable"
    """It is no image: an ephemeral or swap disk, or a file that Nova is still making."""
    FAILED = "failed"
    """It could not be checked: not allowed, gone, no regular file, an error of the disk."""


class Evidence(StrEnum):
    """What a verdict rests on, the cheapest first."""

    NAME = "name"
    """The file's name and size alone."""
    FS_VERITY = "fs-verity"
    """The kernel's own measurement, which it also enforces at every read."""
    SPARSE_DIGEST = "sparse-digest"
    """A digest whose work grows with the file's data: holes are not read."""
    BLOCK_MAP = "block-map"
    """A digest of each range that holds data."""
    FLAT_DIGEST = "flat-digest"
    """A hash of all bytes."""
