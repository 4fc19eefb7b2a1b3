"""Verifications"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """A table for what nodes report of their files."""
    op.create_table(
        "verifications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("report_id", sa.String(length=36), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("file_key", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=True),
        sa.Column("cache_name", sa.String(length=40), nullable=True),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("evidence", sa.String(length=32), nullable=True),
        sa.Column("algorithm", sa.String(length=32), nullable=True),
        sa.Column("differs", sa.JSON(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("checked_at", _TIME, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("is_latest", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
        sa.UniqueConstraint("report_id", name=op.f("uq_verifications_report_id")),
        sa.UniqueConstraint("node", "file_key", "is_latest", name=op.f("uq_verifications_node_file_key_is_latest")),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("ix_verifications_node_id", "verifications", ["node", "id"], unique=False)
    op.create_index("ix_verifications_file_key_id", "verifications", ["file_key", "id"], unique=False)
    op.create_index("ix_verifications_image_id_id", "verifications", ["image_id", "id"], unique=False)
    op.create_index("ix_verifications_verdict_id", "verifications", ["verdict", "id"], unique=False)
    op.create_index("ix_verifications_is_latest_id", "verifications", ["is_latest", "id"], unique=False)
    op.create_index(op.f("ix_verifications_checked_at"), "verifications", ["checked_at"], unique=False)
