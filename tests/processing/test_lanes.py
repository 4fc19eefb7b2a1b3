"""Small images and large ones both come to their turn. Time is simulated: nothing waits, and every run is the same."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.values import LARGE_SIZE, Task, is_large
from manifest_service.processing import queue
from manifest_service.processing.lanes import Preference, Turns
from tests.builders import LEASE, claim, finish, observation, observe

SMALL, LARGE = 1.0, 100.0
"""Seconds that an image takes."""
LONG_LEASE = timedelta(hours=1)


@dataclass
class Simulation:
    """Workers over one queue, with a clock of their own. arrived, begun: seconds by image."""

    database: Database
    turns: list[Turns]
    now: float = 0.0
    arrived: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    under_way: dict[int, Task] = field(default_factory=dict)

    def upload(self, size: int) -> str:
        image_id = str(UUID(int=len(self.arrived) + 1))
        observe(self.database, observation(image_id=image_id, size=size))
        self.arrived[image_id] = self.now
        if is_large(size):
            self.large.add(image_id)
        return image_id

    def run(self, before_claim: Callable[[], None] = lambda: None, claims: int = 1000) -> None:
        """Have the workers work until each finds nothing, or so many images have been taken."""
        free = [(0.0, number) for number in range(len(self.turns))]
        while free and claims:
            self.now, number = heapq.heappop(free)
            if number in self.under_way:
                done = self.under_way.pop(number)
                assert finish(self.database, done)
                self.turns[number].took(LARGE if done.is_large else SMALL, is_large=done.is_large)
            before_claim()
            preference = self.turns[number].preference
            task = self.database.transaction(
                lambda session: queue.claim(session, f"w{number}", LONG_LEASE, 8, preference)  # noqa: B023
            )
            if task is None:
                continue
            claims -= 1
            self.check_turn(number, task)
            self.begun[task.image_id] = self.now
            self.under_way[number] = task
            heapq.heappush(free, (self.now + (LARGE if task.is_large else SMALL), number))

    def check_turn(self, number: int, task: Task) -> None:
        """Whether a worker that took a large image while small ones wait was allowed to."""
        assert task.is_large == (task.image_id in self.large)
        small_waits = set(self.arrived) - set(self.begun) - self.large
        if task.is_large and small_waits:
            assert not any(other.is_large for other in self.under_way.values())
            assert self.turns[number].preference is Preference.LONGEST_DUE

    def waits(self, image_ids: Iterable[str]) -> list[float]:
        return [self.begun[image_id] - self.arrived[image_id] for image_id in image_ids]


@pytest.mark.parametrize(("workers", "longest"), [(1, LARGE + 5 * SMALL), (2, 5 * SMALL), (3, 2 * SMALL)])
def test_small_ones_wait_for_one_large_one_at_most(database: Database, workers: int, longest: float) -> None:
    simulation = Simulation(database, [Turns() for _ in range(workers)])
    for _ in range(5):
        simulation.upload(LARGE_SIZE)
    small = [simulation.upload(LARGE_SIZE - 1) for _ in range(6)]

    simulation.run()

    assert max(simulation.waits(small)) <= longest
    assert len(simulation.begun) == 11


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_large_one_is_not_kept_waiting_by_small_ones_without_end(database: Database, workers: int) -> None:
    simulation = Simulation(database, [Turns() for _ in range(workers)])
    simulation.turns[0].took(LARGE, is_large=True)  # It owes as much as it ever may.
    backlog = 4
    for _ in range(backlog):
        simulation.upload(1)
    large = simulation.upload(LARGE_SIZE)

    def arrive() -> None:
        simulation.upload(1)

    simulation.run(arrive, claims=int(LARGE) + 3 * backlog)

    (wait,) = simulation.waits([large])
    assert wait <= (LARGE + SMALL if workers == 1 else (backlog + 1) * SMALL)


def test_some_workers_leave_large_ones_to_others(database: Database) -> None:
    simulation = Simulation(database, [Turns(small_only=True), Turns()])
    large = [simulation.upload(LARGE_SIZE) for _ in range(3)]

    simulation.run()

    assert simulation.waits(large) == [0.0, LARGE, 2 * LARGE]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_both_come_to_their_turn_whatever_arrives(tmp_path: Path, seed: int) -> None:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    chance = Random(seed)
    workers = chance.randint(1, 4)
    simulation = Simulation(database, [Turns() for _ in range(workers)])

    def arrive() -> None:
        if len(simulation.arrived) < 60:
            for _ in range(chance.choice([0, 1, 2, 5])):
                simulation.upload(chance.choice([1, 1, 1, LARGE_SIZE]))

    simulation.upload(1)
    simulation.run(arrive)

    assert set(simulation.begun) == set(simulation.arrived)
    database.close()


def test_what_is_owed_ends_with_the_time_spent_on_small_ones() -> None:
    turns = Turns()
    preferences = [turns.preference]
    for seconds, is_large_one in ((3.0, True), (2.0, False), (1.0, False)):
        turns.took(seconds, is_large=is_large_one)
        preferences.append(turns.preference)

    longest_due, small_first = Preference.LONGEST_DUE, Preference.SMALL_FIRST
    assert preferences == [longest_due, small_first, small_first, longest_due]


def test_the_oldest_goes_first_where_nothing_large_is_under_way(database: Database) -> None:
    simulation = Simulation(database, [Turns()])
    first, second = simulation.upload(LARGE_SIZE), simulation.upload(1)

    taken = [claim(database), claim(database)]

    assert [task and task.image_id for task in taken] == [first, second]


def test_a_large_one_whose_worker_died_holds_no_others_up(database: Database) -> None:
    simulation = Simulation(database, [Turns()])
    simulation.upload(LARGE_SIZE)
    assert claim(database, lease=timedelta(0)) is not None
    simulation.upload(1)

    again = claim(database, "w2")

    assert again is not None
    assert (again.is_large, again.attempt) == (True, 2)


def test_data_of_another_size_changes_the_lane(database: Database) -> None:
    observe(database, observation(size=1), observation(size=LARGE_SIZE, observed_at=observation().observed_at + LEASE))

    task = claim(database)

    assert task is not None
    assert task.is_large


def test_a_claim_finds_its_entries_by_the_index(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/db.sqlite")
    schema.upgrade(database)
    observe(database, observation())
    asked: list[tuple[str, Any]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(_: object, cursor: object, statement: str, parameters: Any, *others: object) -> None:
        if "FROM queue_entries" in statement and statement.startswith("SELECT"):
            asked.append((statement, parameters))

    assert claim(database) is not None

    event.remove(database.engine, "before_cursor_execute", note)
    with database.engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert "USING INDEX ix_queue_entries_is_large_due_at (is_large=? AND due_at<?)" in str(plan)
            assert "TEMP B-TREE" not in str(plan)
    database.close()
    assert len(asked) == 2
