"""The schema of any revision, as the database has it, and rows for each of its tables, whatever they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, Table, insert
from sqlalchemy.dialects.mysql import LONGTEXT

from manifest_service.manifests import migrations, schema
from manifest_service.manifests.database import Database

NOON = datetime(2026, 11, 23, 12)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def _revisions() -> list[str]:
    """Oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


REVISIONS = _revisions()


def upgrade_to(database: Database, revision: str) -> None:
    """Bring a database to a revision that need not be the newest."""
    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def tables_of(database: Database) -> Sequence[Table]:
    """Ours as the database has them, those first that others refer to."""
    metadata = MetaData()
    metadata.reflect(database.engine)
    return [table for table in metadata.sorted_tables if table.name != schema.VERSION_TABLE]


def row_of(table: Table, number: int) -> dict[str, Any]:
    """A row with a value in each column; rows of one number belong together."""
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: Column[Any], number: int) -> Any:
    """A value of the column's type; equal numbers in two tables refer to each other."""
    kind = column.type
    for reference in column.foreign_keys:
        return _value(reference.column, number)
    if isinstance(kind, DateTime):
        return NOON + timedelta(seconds=number)
    if column.name == "is_latest" or isinstance(kind, Boolean):
        return True
    if isinstance(kind, Integer):
        return number + 1
    if kind.python_type is bytes:
        return bytes([number % 256]) * 8
    if column.name in ("image_id", "report_id", "message_id"):
        return f"00000000-0000-4000-8000-{number:012}"
    if isinstance(kind, JSON):
        return {"number": number}
    if isinstance(kind, LONGTEXT):  # MariaDB's JSON is one, with a check
        return f'{{"number": {number}}}'
    length = getattr(kind, "length", None) or 40
    return f"{column.name} {number} é 💿"[:length] if length >= 24 else f"{column.name[: length - 3]}{number}"


def fill(database: Database, numbers: range) -> None:
    """Add rows of these numbers to each table."""
    with database.engine.begin() as connection:
        for table in tables_of(database):
            connection.execute(insert(table), [row_of(table, number) for number in numbers])
