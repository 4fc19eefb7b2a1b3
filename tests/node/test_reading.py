"""Reading at a pace, and no more of a file than is wanted."""

from pathlib import Path

import pytest

from manifest_service.node import reading
from manifest_service.node.reading import Pace, PoliteFileSource, Prefix


class Clock:
    """Stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reading, "time", clock)
    return clock


def test_so_many_bytes_a_second_are_read(clock: Clock) -> None:
    pace = Pace(1000)
    for _ in range(11):
        pace.wait_for(500)
    assert clock.now == pytest.approx(105)


def test_time_that_was_not_used_is_not_saved_up(clock: Clock) -> None:
    pace = Pace(1000)
    clock.sleep(60)
    began = clock.now
    for _ in range(3):
        pace.wait_for(1000)
    assert clock.now == pytest.approx(began + 2)


def test_a_prefix_ends_where_it_should(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    with PoliteFileSource.open(path) as source:
        source.keep_pace(None)
        prefix = Prefix(source, 10)
        space = bytearray(20)
        assert prefix.readinto(memoryview(space), 4) == 6
        assert space[:7] == bytes([4, 5, 6, 7, 8, 9, 0])
        assert prefix.next_data(3) == range(3, 10)
        assert prefix.readinto(memoryview(space), 10) == 0
