"""Alembic's migrations, shipped with the package: `manifest-service db upgrade` runs them."""
