"""The tables. Relations are followed by explicit queries, not by attributes, so that each query can be seen.

`work_models` has those of the work that is under way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from manifest_service.manifests.base import MARIADB, Base
from manifest_service.manifests.columns import CompressedText, Json, LongText, RowNumber, UtcDateTime


class Image(Base):
    """A Glance image as the latest of its notifications describes it."""

    __tablename__ = "images"
    # Each filter of the list has an index in the list's own order, so that a page costs the same at any number of rows.
    __table_args__ = (
        Index("ix_images_status_id", "status", "id"),
        Index("ix_images_owner_id", "owner", "id"),
        Index("ix_images_visibility_id", "visibility", "id"),
        Index("ix_images_disk_format_id", "disk_format", "id"),
        # With these operators PostgreSQL finds the beginning of a name by it, whatever the database's language.
        Index("ix_images_name_id", "name", "id", postgresql_ops={"name": "varchar_pattern_ops"}),
        Index("ix_images_changed_at_id", "changed_at", "id"),
        MARIADB,
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
    checksums: Mapped[dict[str, str]] = mapped_column(Json)
    """Of the source, algorithm to hex, as Glance recorded them: `checksum` under md5, `os_hash_value` under its own."""
    glance_status: Mapped[str] = mapped_column(String(32))
    observed_order: Mapped[str] = mapped_column(String(160))
    """Sorts observations of one image from old to new; see `values.ImageObservation.order` and `ordering`."""
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


class ImageMember(Base):
    """A project that a `shared` image is shared with, or was: members' messages come in any order, as images' do.

    No foreign key: a member may be known before its image.
    """

    __tablename__ = "image_members"
    __table_args__ = (Index("ix_image_members_member_image_id", "member", "image_id"), MARIADB)

    image_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    member: Mapped[str] = mapped_column(String(255), primary_key=True)
    """Glance's member_id: a project."""
    is_member: Mapped[bool] = mapped_column(Boolean)
    """False once it was taken off again."""
    observed_order: Mapped[str] = mapped_column(String(80))
    """Sorts observations of one member from old to new; see `members`."""


class Manifest(Base):
    """One computation of one image's disk: a revision. Once it is ready it never changes."""

    __tablename__ = "manifests"
    __table_args__ = (
        UniqueConstraint("image_id", "revision"),
        Index("ix_manifests_status_id", "status", "id"),
        MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.image_id"))
    revision: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(16))
    code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    expected_size: Mapped[int | None] = mapped_column(BigInteger)
    expected_checksums: Mapped[dict[str, str]] = mapped_column(Json)
    """What Glance recorded of the source when this was asked for; the computation must find the same."""
    disk_format: Mapped[str | None] = mapped_column(String(32))
    virtual_size: Mapped[int | None] = mapped_column(BigInteger)
    source_size: Mapped[int | None] = mapped_column(BigInteger)
    source_checksums: Mapped[dict[str, str]] = mapped_column(Json)
    """Algorithm to hex, computed by us over the source in the same pass."""
    warnings: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    computed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    computed_by: Mapped[str | None] = mapped_column(String(255))


class ManifestDigest(Base):
    """One digest of a manifest's disk; a table of its own so that a digest leads back to its images."""

    __tablename__ = "manifest_digests"
    __table_args__ = (Index("ix_manifest_digests_algorithm_value", "algorithm", "value"), MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))


class ManifestBlockMap(Base):
    """The block map of a manifest's disk; a table of its own since it may have megabytes."""

    __tablename__ = "manifest_block_maps"
    __table_args__ = (MARIADB,)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[str] = mapped_column(CompressedText)
    """In bmaptool's format 2.0."""


class ManifestStatement(Base):
    """The signed statement of a ready manifest, as it was made with it."""

    __tablename__ = "manifest_statements"
    __table_args__ = (Index("ix_manifest_statements_key_id_manifest_id", "key_id", "manifest_id"), MARIADB)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64))
    envelope: Mapped[str] = mapped_column(LongText)
    """A DSSE envelope, as JSON. It holds the bytes that were signed."""


class SigningKey(Base):
    """A public key that statements were signed with: served to all, and kept after its private half has gone."""

    __tablename__ = "signing_keys"
    __table_args__ = (MARIADB,)

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the key's SubjectPublicKeyInfo (DER), in hex."""
    public_key: Mapped[str] = mapped_column(Text)
    """SubjectPublicKeyInfo, PEM."""
    first_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    imported_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the first statement of it came from another site; None for a key that was used here."""


class Event(Base):
    """One line of an image's history."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_image_id_id", "image_id", "id"),
        Index("ix_events_kind_id", "kind", "id"),
        MARIADB,
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    image_id: Mapped[str | None] = mapped_column(String(36))
    """None where it is of none, or Glance does not say which: some rejected uploads."""
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    message_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    """The notification's own id where it is recorded as such, so that a second delivery is not recorded twice."""
    detail: Mapped[dict[str, Any]] = mapped_column(Json)


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
        MARIADB,
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
    differs: Mapped[list[list[int]]] = mapped_column(Json)
    """[offset, length] of the ranges that differ, in bytes."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the file."""
    reason: Mapped[str] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """By the node's clock."""
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """By the database's clock."""
    reported_by: Mapped[str | None] = mapped_column(String(255))
    """Keystone's id of the user who reported it; None where nobody was authenticated."""
    is_latest: Mapped[bool | None] = mapped_column(Boolean)
    """True for the row of this node and file that was checked last, NULL (never false) for all others."""
