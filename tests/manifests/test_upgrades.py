"""A filled database of each earlier revision, upgraded on each kind of database while others use it."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select, text

from manifest_service.errors import UsageError
from manifest_service.manifests import migrations, schema
from manifest_service.manifests.database import Database
from tests.manifests.any_schema import REVISIONS, fill, row_of, tables_of, upgrade_to
from tests.waiting import eventually

VERSIONS = Path(migrations.__file__).parent / "versions"
ROWS = 3

_EXPANDING = {"create_table", "add_column", "create_index", "drop_index", "execute", "f", "get_bind"}
"""What a revision may do: code of the version before goes on as if nothing had happened. An index is no column."""


def _contents(database: Database, columns: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, by table; of each, the values of these columns."""
    found = {}
    with database.engine.connect() as connection:
        for table in tables_of(database):
            if table.name in columns:
                wanted = [table.c[name] for name in columns[table.name]]
                rows = connection.execute(select(*wanted)).all()
                found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


def _columns(database: Database) -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in tables_of(database)}


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.mark.parametrize(("old", "new"), list(pairwise(REVISIONS)))
@pytest.mark.slow
def test_what_a_database_holds_stays_and_code_of_the_version_before_goes_on(
    empty: Database, old: str, new: str
) -> None:
    upgrade_to(empty, old)
    fill(empty, range(ROWS))
    tables, columns = tables_of(empty), _columns(empty)
    before = _contents(empty, columns)

    upgrade_to(empty, new)

    assert _contents(empty, columns) == before
    with empty.engine.begin() as connection:
        for table in tables:  # as the old code knows them
            connection.execute(insert(table), [row_of(table, ROWS)])
    before = _contents(empty, columns)
    assert {len(rows) for rows in before.values()} == {ROWS + 1}

    schema.upgrade(empty)

    assert _contents(empty, columns) == before
    schema.require_current(empty)


class _Others(threading.Thread):
    """Somebody who reads and writes all the time, with what the first revision had."""

    def __init__(self, url: str, events: Table) -> None:
        super().__init__(name="others")
        self._database = Database(url)
        self._events = events
        self._over = threading.Event()
        self.written = 0
        self.error: Exception | None = None

    def run(self) -> None:
        while not self._over.is_set() and self.error is None:
            try:
                self._database.transaction(
                    lambda session: session.execute(insert(self._events), [row_of(self._events, ROWS + self.written)])
                )
                self.written += 1
                self._database.transaction(lambda session: session.execute(select(func.count(self._events.c.id))).all())
            except Exception as error:
                self.error = error

    def __enter__(self) -> _Others:
        self.start()
        eventually(lambda: self.written > 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._database.close()


def test_others_read_and_write_meanwhile(empty: Database, database_url: str) -> None:
    upgrade_to(empty, REVISIONS[0])
    fill(empty, range(ROWS))
    events = next(table for table in tables_of(empty) if table.name == "events")

    with _Others(database_url, events) as others:
        schema.upgrade(empty, lock_wait=60.0)
        at_the_end = others.written
        eventually(lambda: others.written > at_the_end or others.error)

    assert others.error is None
    assert len(_contents(empty, {"events": ["id"]})["events"]) == ROWS + others.written


def test_two_hosts_upgrade_at_the_same_time(empty: Database, database_url: str) -> None:
    failed: list[Exception] = []

    def upgrade() -> None:
        database = Database(database_url)
        try:
            schema.upgrade(database)
        except Exception as error:
            failed.append(error)
        finally:
            database.close()

    hosts = [threading.Thread(target=upgrade) for _ in range(3)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()

    assert failed == []
    schema.require_current(empty)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.servers
def test_an_upgrade_does_not_wait_for_long_with_everybody_behind_it(empty: Database, database_url: str) -> None:
    upgrade_to(empty, REVISIONS[0])
    fill(empty, range(ROWS))
    with empty.engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM images")).all()

        with pytest.raises(UsageError, match="End what holds the database up") as caught:
            schema.upgrade(empty, lock_wait=1)

    assert caught.value.code == "upgrade-failed"
    with empty.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM images")).scalar() == ROWS


def test_code_of_the_version_before_starts_with_a_newer_schema(database: Database) -> None:
    _set_version(database, "9998")

    schema.require_current(database)
    schema.upgrade(database)

    assert schema.current_version(database) == "9998"


@pytest.mark.parametrize("version", ["9999_needs_9998", "0000", "nonsense"])
def test_code_that_is_too_old_for_a_schema_refuses_it(database: Database, version: str) -> None:
    _set_version(database, version)

    with pytest.raises(UsageError, match=version):
        schema.require_current(database)


def _set_version(database: Database, version: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'"))


def test_revisions_are_numbered_in_order_and_never_forget_what_they_need() -> None:
    needs = [revision.partition("_needs_")[2] for revision in REVISIONS]

    assert [revision.partition("_needs_")[0] for revision in REVISIONS] == [
        f"{number:04}" for number in range(1, len(REVISIONS) + 1)
    ]
    assert needs == sorted(needs)
    assert all(len(revision) <= 32 for revision in REVISIONS)  # Alembic's column


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("0*.py")), ids=lambda path: path.name)
def test_a_revision_only_adds(path: Path) -> None:
    """Until one is named NNNN_needs_MMMM: it may take away what no code since MMMM uses."""
    if "_needs_" in path.name:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    operations = [call for call in calls if ast.unparse(call.func).startswith("op.")]

    assert {ast.unparse(call.func).removeprefix("op.") for call in operations} <= _EXPANDING
    for call in operations:
        if ast.unparse(call.func) == "op.add_column":
            column = call.args[1]
            assert isinstance(column, ast.Call)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in column.keywords}
            assert given.get("nullable", "True") == "True" or "server_default" in given, ast.unparse(column)
