"""Duties, and scrubs"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MARIADB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Tables for what one process does for all, and for when each source was last read again; a lane for large ones."""
    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("lease", sa.String(length=36), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("failed_runs", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
        **_MARIADB,
    )
    op.create_table(
        "scrubs",
        sa.Column("manifest_id", _ROW_NUMBER, nullable=False),
        sa.Column("scrubbed_at", _TIME, nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_scrubs_manifest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_scrubs")),
        **_MARIADB,
    )
    # A default for rows that are there, and for processes of the version before that still write.
    op.add_column("queue_entries", sa.Column("is_large", sa.Boolean(), nullable=False, server_default=sa.false()))
    _find_large()
    op.create_index(
        "ix_queue_entries_is_large_due_at", "queue_entries", ["is_large", "due_at", "manifest_id"], unique=False
    )
    op.drop_index("ix_queue_entries_due_at_id", "queue_entries")


def _find_large() -> None:
    """Put large sources that wait, and those of unknown size, into the lane for large ones."""
    entries = sa.table("queue_entries", sa.column("manifest_id"), sa.column("is_large", sa.Boolean()))
    manifests = sa.table("manifests", sa.column("id"), sa.column("expected_size"))
    size = sa.select(manifests.c.expected_size).where(manifests.c.id == entries.c.manifest_id).scalar_subquery()
    op.execute(entries.update().where(sa.or_(size.is_(None), size >= 2 << 30)).values(is_large=sa.true()))
