"""The tables. Relations are followed by explicit queries, not by attributes, so that each query can be seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from manifest_service.manifests.columns import CompressedText, LongText, RowNumber, UtcDateTime

# utf8mb4_bin: identifiers and digests compare byte by byte on MariaDB too, and names may hold any character.
_MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can name it too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Image(Base):
    """A Glance image as the latest of its notifications describes it."""

    __tablename__ = "images"
    # Each filter of the list has an index in the list's own order, so that a page costs the same at any number of rows.
    __table_args__ = (
        Index("ix_images_status_id", "status", "id"),
        Index("ix_images_owner_id", "owner", "id"),
        Index("ix_images_disk_format_id", "disk_format", "id"),
        # With these operators PostgreSQL finds the beginning of a name by it, whatever the database's language.
        Index("ix_images_name_id", "name", "id", postgresql_ops={"name": "varchar_pattern_ops"}),
        Index("ix_images_changed_at_id", "changed_at", "id"),
        _MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    """Order of first sight: what pages are cut by."""
    image_id: Mapped[str] = mapped_column(String(36), unique=True)
    cache_name: Mapped[str] = mapped_column(String(40), index=True)
    """SHA-1 of the image id in hex: the name of its file in Nova's `_base`."""
    name: Mapped[str | None] = mapped_column(String(255))
    owner: Mapped[str | None] = mapped_column(String(255))
    visibility: Mapped[str | None] = mapped_column(String(32))
    disk_format: Mapped[str | None] = mapped_column(String(32))
    container_format: Mapped[str | None] = mapped_column(String(32))
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the source, as Glance recorded them."""
    checksums: Mapped[dict[str, str]] = mapped_column(JSON)
    """Of the source, algorithm to hex, as Glance recorded them: `checksum` under md5, `os_hash_value` under its own."""
    glance_status: Mapped[str] = mapped_column(String(32))
    observed_order: Mapped[str] = mapped_column(String(160))
    """Sorts observations of one image from old to new; see `intake.order_of`."""
    current_revision: Mapped[int | None] = mapped_column(Integer)
    """The revision that is served; none until Glance has had the image active once."""
    status: Mapped[str | None] = mapped_column(String(16))
    """Of the revision that is served, or `deleted`; see `serving.refresh`, which alone writes it."""
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the image, or what is served of it, last changed."""
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    imported_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When another site's export brought it; None for an image of our own Glance."""
    version: Mapped[int] = mapped_column(Integer)

    # Every write is a compare-and-swap on `version`: two listeners that change one image at once cannot lose either.
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Manifest(Base):
    """One computation of one image's disk: a revision. Once it is ready it never changes."""

    __tablename__ = "manifests"
    __table_args__ = (
        UniqueConstraint("image_id", "revision"),
        Index("ix_manifests_status_id", "status", "id"),
        _MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.image_id"))
    revision: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(16))
    code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    expected_size: Mapped[int | None] = mapped_column(BigInteger)
    expected_checksums: Mapped[dict[str, str]] = mapped_column(JSON)
    """What Glance recorded of the source when this was asked for; the computation must find the same."""
    disk_format: Mapped[str | None] = mapped_column(String(32))
    virtual_size: Mapped[int | None] = mapped_column(BigInteger)
    source_size: Mapped[int | None] = mapped_column(BigInteger)
    source_checksums: Mapped[dict[str, str]] = mapped_column(JSON)
    """Algorithm to hex, computed by us over the source in the same pass."""
    warnings: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    computed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    computed_by: Mapped[str | None] = mapped_column(String(255))


class ManifestDigest(Base):
    """One digest of a manifest's disk; a table of its own so that a digest leads back to its images."""

    __tablename__ = "manifest_digests"
    __table_args__ = (Index("ix_manifest_digests_algorithm_value", "algorithm", "value"), _MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))


class ManifestBlockMap(Base):
    """The block map of a manifest's disk; a table of its own since it may have megabytes."""

    __tablename__ = "manifest_block_maps"
    __table_args__ = (_MARIADB,)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[str] = mapped_column(CompressedText)
    """In bmaptool's format 2.0."""


class ManifestStatement(Base):
    """The signed statement of a ready manifest, as it was made with it."""

    __tablename__ = "manifest_statements"
    __table_args__ = (Index("ix_manifest_statements_key_id_manifest_id", "key_id", "manifest_id"), _MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64))
    envelope: Mapped[str] = mapped_column(LongText)
    """A DSSE envelope, as JSON. It holds the bytes that were signed."""


class SigningKey(Base):
    """A public key that statements were signed with: served to all, and kept after its private half has gone."""

    __tablename__ = "signing_keys"
    __table_args__ = (_MARIADB,)

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the key's SubjectPublicKeyInfo (DER), in hex."""
    public_key: Mapped[str] = mapped_column(Text)
    """SubjectPublicKeyInfo, PEM."""
    first_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    imported_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the first statement of it came from another site; None for a key that was used here."""


class QueueEntry(Base):
    """A manifest that waits for a worker or is being computed by one. It goes when the manifest is final."""

    __tablename__ = "queue_entries"
    __table_args__ = (Index("ix_queue_entries_is_large_due_at", "is_large", "due_at", "manifest_id"), _MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(36), index=True)
    is_large: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Which of two lanes it waits in, so that small ones need not wait for large ones; see `values.is_large`."""
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When a worker may take it: now for a new one, later after a failed attempt, the lease's end once taken."""
    attempts: Mapped[int] = mapped_column(Integer)
    lease: Mapped[str | None] = mapped_column(String(36))
    """Token of the claim that holds it. Whoever shows another token has lost it and may write nothing."""
    worker: Mapped[str | None] = mapped_column(String(255))
    bytes_done: Mapped[int] = mapped_column(BigInteger)
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    enqueued_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Duty(Base):
    """Work that one process does for all of them, now and then; whoever holds the lease does it."""

    __tablename__ = "duties"
    __table_args__ = (_MARIADB,)

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    lease: Mapped[str | None] = mapped_column(String(36))
    """Token of the claim that holds it; None where nobody is at it."""
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    holder: Mapped[str | None] = mapped_column(String(255))
    """Who is at it, or was last."""
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What the next run goes on from."""
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the last run ended that was not broken off."""
    failed_runs: Mapped[int] = mapped_column(Integer)
    """In a row, up to the last one."""
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What came of the last run: figures, or `code` and `reason`."""


class Scrub(Base):
    """When a ready manifest's source was last read again, and what was found."""

    __tablename__ = "scrubs"
    __table_args__ = (_MARIADB,)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    scrubbed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    findings: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Place (`store`, `glance`) → what is not as it was; a finding that stands here is not reported again."""


class Event(Base):
    """One line of an image's history."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_image_id_id", "image_id", "id"),
        Index("ix_events_kind_id", "kind", "id"),
        _MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    image_id: Mapped[str | None] = mapped_column(String(36))
    """None where it is of none, or Glance does not say which: some rejected uploads."""
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    message_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    """The notification's own id where it is recorded as such, so that a second delivery is not recorded twice."""
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


class Verification(Base):
    """What a node said of one of its files at one moment. Only `is_latest` ever changes."""

    __tablename__ = "verifications"
    __table_args__ = (
        # NULL equals nothing, so a node's file has one latest row and any number of others.
        UniqueConstraint("node", "file_key", "is_latest"),
        Index("ix_verifications_node_id", "node", "id"),
        Index("ix_verifications_file_key_id", "file_key", "id"),
        Index("ix_verifications_image_id_id", "image_id", "id"),
        Index("ix_verifications_verdict_id", "verdict", "id"),
        Index("ix_verifications_is_latest_id", "is_latest", "id"),
        # The fleet's pages, which count the latest by node and by image.
        Index("ix_verifications_is_latest_node", "is_latest", "node", "verdict", "id"),
        Index("ix_verifications_is_latest_verdict", "is_latest", "verdict", "node", "id"),
        Index("ix_verifications_image_id_is_latest", "image_id", "is_latest", "verdict", "node", "id"),
        _MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    """Order of arrival: what pages are cut by."""
    report_id: Mapped[str] = mapped_column(String(36), unique=True)
    """Made by the node, so that a report that is sent twice is recorded once."""
    node: Mapped[str] = mapped_column(String(255))
    file: Mapped[str] = mapped_column(Text)
    file_key: Mapped[str] = mapped_column(String(64))
    """SHA-256 of `file` in hex: MariaDB indexes no column as long as a path."""
    image_id: Mapped[str | None] = mapped_column(String(36))
    """As the node says; no foreign key, since it may be an image that has not been seen here."""
    cache_name: Mapped[str | None] = mapped_column(String(40))
    verdict: Mapped[str] = mapped_column(String(32))
    evidence: Mapped[str | None] = mapped_column(String(32))
    algorithm: Mapped[str | None] = mapped_column(String(32))
    differs: Mapped[list[list[int]]] = mapped_column(JSON)
    """[offset, length] of the ranges that differ, in bytes."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the file."""
    reason: Mapped[str] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """By the node's clock."""
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """By the database's clock."""
    is_latest: Mapped[bool | None] = mapped_column(Boolean)
    """True for the row of this node and file that was checked last, NULL (never false) for all others."""
