"""The first tables"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MARIADB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """From nothing to images, manifests, digests, the queue and the history."""
    op.create_table(
        "events",
        sa.Column("id", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("message_id", name=op.f("uq_events_message_id")),
        **_MARIADB,
    )
    op.create_index("ix_events_image_id_id", "events", ["image_id", "id"], unique=False)
    op.create_table(
        "images",
        sa.Column("id", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("cache_name", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("visibility", sa.String(length=32), nullable=True),
        sa.Column("disk_format", sa.String(length=32), nullable=True),
        sa.Column("container_format", sa.String(length=32), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("checksums", sa.JSON(), nullable=False),
        sa.Column("glance_status", sa.String(length=32), nullable=False),
        sa.Column("observed_order", sa.String(length=160), nullable=False),
        sa.Column("current_revision", sa.Integer(), nullable=True),
        sa.Column("first_seen_at", _TIME, nullable=False),
        sa.Column("deleted_at", _TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("image_id", name=op.f("uq_images_image_id")),
        **_MARIADB,
    )
    op.create_index(op.f("ix_images_cache_name"), "images", ["cache_name"], unique=False)
    op.create_index("ix_images_deleted_at_id", "images", ["deleted_at", "id"], unique=False)
    op.create_index(op.f("ix_images_owner"), "images", ["owner"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("id", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("expected_size", sa.BigInteger(), nullable=True),
        sa.Column("expected_checksums", sa.JSON(), nullable=False),
        sa.Column("disk_format", sa.String(length=32), nullable=True),
        sa.Column("virtual_size", sa.BigInteger(), nullable=True),
        sa.Column("source_size", sa.BigInteger(), nullable=True),
        sa.Column("source_checksums", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("computed_at", _TIME, nullable=True),
        sa.Column("computed_by", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.image_id"], name=op.f("fk_manifests_image_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sa.UniqueConstraint("image_id", "revision", name=op.f("uq_manifests_image_id_revision")),
        **_MARIADB,
    )
    op.create_index("ix_manifests_status_id", "manifests", ["status", "id"], unique=False)
    op.create_index(op.f("ix_manifests_updated_at"), "manifests", ["updated_at"], unique=False)
    op.create_table(
        "manifest_digests",
        sa.Column("manifest_id", _ROW_NUMBER, nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_digests_manifest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", "algorithm", name=op.f("pk_manifest_digests")),
        **_MARIADB,
    )
    op.create_index("ix_manifest_digests_algorithm_value", "manifest_digests", ["algorithm", "value"], unique=False)
    op.create_table(
        "queue_entries",
        sa.Column("manifest_id", _ROW_NUMBER, nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease", sa.String(length=36), nullable=True),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("enqueued_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_queue_entries_manifest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_queue_entries")),
        **_MARIADB,
    )
    op.create_index("ix_queue_entries_due_at_id", "queue_entries", ["due_at", "manifest_id"], unique=False)
    op.create_index(op.f("ix_queue_entries_image_id"), "queue_entries", ["image_id"], unique=False)
