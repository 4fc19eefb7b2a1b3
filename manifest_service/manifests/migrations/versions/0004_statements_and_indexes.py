"""Statements, and lists that stay fast"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_MARIADB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Tables for signed statements; the state of what is served beside the image, with an index for each filter."""
    op.create_table(
        "manifest_statements",
        sa.Column("manifest_id", _ROW_NUMBER, nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("envelope", _LONG_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_statements_manifest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_manifest_statements")),
        **_MARIADB,
    )
    op.create_index(
        "ix_manifest_statements_key_id_manifest_id", "manifest_statements", ["key_id", "manifest_id"], unique=False
    )
    op.create_table(
        "signing_keys",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("first_used_at", _TIME, nullable=False),
        sa.Column("imported_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_signing_keys")),
        **_MARIADB,
    )
    op.add_column("images", sa.Column("status", sa.String(length=16), nullable=True))
    # A default for rows that are there, and for processes of the version before that still write.
    op.add_column(
        "images", sa.Column("changed_at", _TIME, nullable=False, server_default=sa.text("'1970-01-01 00:00:00'"))
    )
    op.add_column("images", sa.Column("imported_at", _TIME, nullable=True))
    _fill_in()
    op.drop_index("ix_images_owner", "images")
    op.drop_index("ix_images_deleted_at_id", "images")
    op.drop_index("ix_manifests_updated_at", "manifests")
    for column in ("status", "owner", "disk_format", "changed_at"):
        op.create_index(f"ix_images_{column}_id", "images", [column, "id"], unique=False)
    op.create_index(
        "ix_images_name_id",
        "images",
        ["name", "id"],
        unique=False,
        postgresql_ops={"name": "varchar_pattern_ops"},
    )
    for name, columns in (
        ("ix_verifications_is_latest_node", ["is_latest", "node", "verdict", "id"]),
        ("ix_verifications_is_latest_verdict", ["is_latest", "verdict", "node", "id"]),
        ("ix_verifications_image_id_is_latest", ["image_id", "is_latest", "verdict", "node", "id"]),
    ):
        op.create_index(name, "verifications", columns, unique=False)
    op.create_index("ix_events_kind_id", "events", ["kind", "id"], unique=False)
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)


def _fill_in() -> None:
    """Say of the images that are there what is served of them."""
    images = sa.table(
        "images", *map(sa.column, ("image_id", "current_revision", "status", "first_seen_at", "deleted_at"))
    )
    images.append_column(sa.column("changed_at"))
    manifests = sa.table("manifests", *map(sa.column, ("image_id", "revision", "status", "updated_at")))
    served = sa.and_(manifests.c.image_id == images.c.image_id, manifests.c.revision == images.c.current_revision)
    status = sa.select(manifests.c.status).where(served).scalar_subquery()
    updated_at = sa.select(manifests.c.updated_at).where(served).scalar_subquery()
    op.execute(
        images.update().values(
            status=sa.case((images.c.deleted_at.is_not(None), "deleted"), else_=status),
            changed_at=sa.func.coalesce(images.c.deleted_at, updated_at, images.c.first_seen_at),
        )
    )
