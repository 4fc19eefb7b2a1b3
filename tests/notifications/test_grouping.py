"""Messages that arrive together are written together, and none pays for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway, Result
from manifest_service.manifests.models import Image
from manifest_service.manifests.values import ImageObservation
from notifications.grouping import GroupWriter
from tests.builders import observation
from tests.waiting import eventually

UNWRITABLE = 1 << 70
"""Bytes that no column holds."""


class SlowDatabase(Database):
    """Its first transaction begins when it is let; all are counted."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.away = False
        self.ends_threads = False
        self.transactions = 0

    def transaction(self, work: Callable[[Session], Result]) -> Result:
        self.transactions += 1
        self.begun.set()
        assert self.gate.wait(60)
        if self.away:
            raise DatabaseAway("it is")
        if self.ends_threads and self.transactions > 1:
            self.ends_threads = False
            raise SystemExit
        return super().transaction(work)

    def images(self) -> int:
        self.away = False
        return len(super().transaction(lambda session: session.scalars(select(Image)).all()))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SlowDatabase]:
    database = SlowDatabase(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    yield database
    database.close()


def image(number: int, size: int = 1) -> ImageObservation:
    return observation(image_id=str(UUID(int=number)), size=size)


def write_together(database: SlowDatabase, *together: ImageObservation) -> list[Future[None]]:
    """Write one observation and then, while its transaction waits, all others. Gives what became of the others."""
    writer = GroupWriter(database)
    with ThreadPoolExecutor(len(together) + 1) as threads:
        first = threads.submit(writer.observe, image(999))
        assert database.begun.wait(60)
        others = [threads.submit(writer.observe, seen) for seen in together]
        eventually(lambda: len(writer._gathered) == len(together))
        database.gate.set()
        assert first.exception() is None or database.away
    return others


def test_what_gathers_behind_a_transaction_is_written_in_one(database: SlowDatabase) -> None:
    done = write_together(database, *(image(number) for number in range(20)))

    assert [each.exception() for each in done] == [None] * 20
    assert database.transactions == 2
    assert database.images() == 21


def test_one_that_cannot_be_written_takes_no_other_with_it(database: SlowDatabase) -> None:
    done = write_together(database, image(1), image(2, UNWRITABLE), image(3))

    assert [each.exception() is None for each in done] == [True, False, True]
    assert database.images() == 3


def test_all_hear_of_a_database_that_is_away(database: SlowDatabase) -> None:
    database.away = True

    done = write_together(database, image(1), image(2))

    assert [type(each.exception()) for each in done] == [DatabaseAway, DatabaseAway]
    assert database.images() == 0


def test_none_is_called_written_by_a_thread_that_was_ended(database: SlowDatabase) -> None:
    database.ends_threads = True

    done = write_together(database, image(1), image(2))

    assert sorted(type(each.exception()).__name__ for each in done) == ["DatabaseAway", "SystemExit"]
    assert database.images() == 1
