"""How Alembic reaches our database: over the connection that `schema.py` hands it."""

from __future__ import annotations

from alembic import context

from manifest_service.manifests import models, work_models  # noqa: F401 - they are all tables of Base
from manifest_service.manifests.base import Base
from manifest_service.manifests.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    # Locks are held no longer than one revision takes.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
