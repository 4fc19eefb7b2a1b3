"""Reading without a transaction: a lost connection is had anew, and a database that is away raises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from manifest_service.manifests import queries
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.visibility import EVERYTHING
from tests import builders
from tests.servers.postgresql import PostgreSQL

HOUR = timedelta(hours=1)


def _one(connection: Connection) -> int:
    answer: int = connection.execute(text("SELECT 1")).scalar_one()
    return answer


@pytest.fixture
def elsewhere(postgresql: PostgreSQL) -> Iterator[Database]:
    """A database on PostgreSQL, which a test may stop."""
    url = postgresql.create_database()
    database = Database(url)
    yield database
    database.close()
    postgresql.start()
    postgresql.drop(url)


def test_a_connection_that_was_lost_meanwhile_is_had_anew(elsewhere: Database, postgresql: PostgreSQL) -> None:
    assert elsewhere.read(_one) == 1
    postgresql.restart()

    assert elsewhere.read(_one) == 1


def test_a_database_that_is_away(elsewhere: Database, postgresql: PostgreSQL) -> None:
    assert elsewhere.read(_one) == 1
    postgresql.stop()

    with pytest.raises(DatabaseAway):
        elsewhere.read(_one)


def test_a_mistake_is_not_tried_again(local: Database) -> None:
    tries = []

    def fail(connection: Connection) -> None:
        tries.append(connection)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        local.read(fail)
    assert len(tries) == 1


def test_both_ways_of_reading_find_the_same(database: Database) -> None:
    """An image that is announced, then computed and signed, then deleted."""
    steps = (
        lambda: builders.observe(database, builders.observation()),
        lambda: builders.finish(database, builders.claimed(database), signer=builders.new_key()),
        lambda: builders.observe(database, builders.observation(deleted=True, updated_at=builders.NOON + HOUR)),
    )
    statuses = []
    for step in steps:
        step()
        alone = database.read(lambda connection: queries.get_current(connection, EVERYTHING, builders.IMAGE_ID))
        (among,) = database.transaction(
            lambda session: queries.find_by_image_ids(session, EVERYTHING, [builders.IMAGE_ID])
        )
        assert alone == among
        statuses.append(among.status)

    assert statuses == ["pending", "ready", "deleted"]
