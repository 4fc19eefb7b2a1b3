"""Commands that start while the database comes and goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import Engine

from manifest_service import config
from manifest_service.commands.main import group
from manifest_service.commands.wiring import open_database
from manifest_service.errors import UsageError
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.servers.postgresql import PostgreSQL
from tests.servers.service import write_config

END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> {own}"


@pytest.fixture
def url(postgresql: PostgreSQL) -> Iterator[str]:
    made = postgresql.create_database()
    database = Database(made)
    schema.upgrade(database)
    database.close()
    yield made
    postgresql.drop(made)


@contextmanager
def sessions_ended_at_the_version(url: str, times: int) -> Iterator[None]:
    """The first so many questions for the schema's version meet a connection that has just been ended."""
    operator = sa.create_engine(url, poolclass=sa.NullPool)
    left = [times]

    def end_all(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if schema.VERSION_TABLE in statement and left[0]:
            left[0] -= 1
            with operator.connect() as own:
                own.execute(sa.text(END_ALL.format(own="pg_backend_pid()")))

    sa.event.listen(Engine, "before_cursor_execute", end_all)
    try:
        yield
    finally:
        sa.event.remove(Engine, "before_cursor_execute", end_all)
    assert not left[0]


@pytest.mark.parametrize("retries", [1, -1])
def test_a_database_that_goes_away_while_a_process_starts_is_waited_for(url: str, retries: int) -> None:
    conf = config.load([], [("database", "connection", url), ("database", "max_retries", retries)])
    conf.set_override("retry_interval", 0, group="database")

    with sessions_ended_at_the_version(url, 1):
        database = open_database(conf)

    assert schema.current_version(database) == schema.newest_version()
    database.close()


def test_one_that_goes_away_again_and_again_is_told_in_the_end(url: str) -> None:
    conf = config.load([], [("database", "connection", url), ("database", "max_retries", 2)])
    conf.set_override("retry_interval", 0, group="database")

    with sessions_ended_at_the_version(url, 3), pytest.raises(UsageError, match="does not answer") as caught:
        open_database(conf)

    assert caught.value.code == "database-away"


@pytest.mark.parametrize("arguments", [["db", "version"], ["db", "upgrade"], ["upgrade-check"]])
def test_a_database_that_goes_away_under_a_command_is_told(url: str, arguments: list[str], tmp_path: Path) -> None:
    file = write_config(tmp_path / "c.conf", {"database": {"connection": url}})

    with sessions_ended_at_the_version(url, 1):
        done = CliRunner().invoke(group, [*arguments, "--config-file", str(file)])

    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert "database-away" in done.output
