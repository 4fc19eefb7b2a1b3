"""Who may see an image, and who reported a verification"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MARIADB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """A table for the projects that images are shared with, an index for images that everybody sees."""
    op.create_table(
        "image_members",
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("member", sa.String(length=255), nullable=False),
        sa.Column("is_member", sa.Boolean(), nullable=False),
        sa.Column("observed_order", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "member", name=op.f("pk_image_members")),
        **_MARIADB,
    )
    op.create_index("ix_image_members_member_image_id", "image_members", ["member", "image_id"], unique=False)
    op.create_index("ix_images_visibility_id", "images", ["visibility", "id"], unique=False)
    op.add_column("verifications", sa.Column("reported_by", sa.String(length=255), nullable=True))
