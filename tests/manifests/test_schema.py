"""The migrations: they make what the models say, on each kind of database, and touch nothing that is not ours."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from manifest_service.errors import UsageError
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway, database_now
from manifest_service.manifests.models import Base


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
