"""The migrations: they make what the models say, on each kind of database, and touch nothing that is not ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import TableClause, text
from sqlalchemy.orm import Session

from manifest_service.errors import UsageError
from manifest_service.manifests import migrations, queries, schema
from manifest_service.manifests.base import Base
from manifest_service.manifests.database import Database, DatabaseAway, database_now
from manifest_service.manifests.intake import cache_name_of
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import EVERYTHING
from tests.builders import NOON


def test_the_migrations_make_the_tables_that_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        difference = compare_metadata(context, Base.metadata)

    assert difference == []


def test_an_upgrade_of_what_is_current_changes_nothing(database: Database) -> None:
    schema.upgrade(database)

    assert schema.current_version(database) == schema.newest_version()
    schema.require_current(database)


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004", "0005", "0006"])
def test_a_database_from_before_is_upgraded_with_what_it_holds(database_url: str, version: str) -> None:
    database = Database(database_url)
    upgrade_to(database, version)
    with database.engine.begin() as connection:
        for table, row in rows_from_before(version):
            connection.execute(table_of(table, row).insert().values(**row))

    schema.upgrade(database)

    schema.require_current(database)
    kept = {record.image_id: record for record in database.transaction(everything)}
    assert [kept[uuid_of(number)].status for number in range(3)] == ["ready", "deleted", "pending"]
    assert kept[uuid_of(0)].digests == {"sha256": "00" * 32}
    assert kept[uuid_of(0)].changed_at == NOON
    ready = database.transaction(
        lambda session: queries.list_current(session, EVERYTHING, queries.ManifestFilter(status=Status.READY), 10, None)
    )
    assert [record.image_id for record in ready] == [uuid_of(0)]
    database.close()


def upgrade_to(database: Database, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def rows_from_before(version: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """An image that is ready, one that is deleted and one that waits, with the columns of the first tables, or later.

    version: of the schema.
    """
    noon = NOON.replace(tzinfo=None)
    for number, status in enumerate((Status.READY, Status.READY, Status.PENDING)):
        image_id = uuid_of(number)
        yield (
            "images",
            {
                "image_id": image_id,
                "cache_name": cache_name_of(image_id),
                "name": f"q{number}",
                "checksums": "{}",
                "glance_status": "active",
                "observed_order": "",
                "current_revision": 1,
                "first_seen_at": noon,
                "deleted_at": noon if number == 1 else None,
                "version": 1,
                **({"status": "deleted" if number == 1 else status, "changed_at": noon} if version >= "0004" else {}),
            },
        )
        yield (
            "manifests",
            {
                "id": number + 1,
                "image_id": image_id,
                "revision": 1,
                "status": status,
                "expected_checksums": "{}",
                "source_checksums": "{}",
                "warnings": "[]",
                "created_at": noon,
                "updated_at": noon,
            },
        )
        yield "manifest_digests", {"manifest_id": number + 1, "algorithm": "sha256", "value": f"{number:02}" * 32}


def table_of(name: str, row: dict[str, Any]) -> TableClause:
    return sqlalchemy.table(name, *map(sqlalchemy.column, row))


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def everything(session: Session) -> list[ManifestRecord]:
    return queries.list_current(session, EVERYTHING, queries.ManifestFilter(), 10, None)


def test_somebody_else_s_database_is_left_alone(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE images (id INTEGER)"))

    with pytest.raises(UsageError, match="somebody else") as caught:
        schema.upgrade(database)

    assert caught.value.code == "foreign-database"
    assert ":***@" in str(caught.value) or "sqlite" in str(caught.value)
    database.close()


def test_a_database_without_our_tables_says_what_to_run(database_url: str) -> None:
    database = Database(database_url)

    with pytest.raises(UsageError, match="run `manifest-service db upgrade`"):
        schema.require_current(database)
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x", "postgresql+nodriver://x/y", ""])
def test_a_url_that_cannot_be_used_says_so(url: str) -> None:
    with pytest.raises(UsageError, match=r"\[database\] connection"):
        Database(url)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="cannot be made"):
        Database(f"sqlite:///{tmp_path}/file/db.sqlite")


def test_a_driver_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(UsageError, match="pip install") as caught:
        Database("mysql+mysqldb://user@127.0.0.1/db")

    assert caught.value.code == "not-installed"


def test_a_database_that_does_not_answer_is_away() -> None:
    with pytest.raises(DatabaseAway):
        Database("postgresql+psycopg://nobody@127.0.0.1:1/none", connect_retries=0).transaction(database_now)
