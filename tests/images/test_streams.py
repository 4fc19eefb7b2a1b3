"""Streams as sources: any order of reading gives the store's bytes, or an error; never others, never a mixture."""

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest_service.disks.source import FileSource, Source, read_exactly
from manifest_service.errors import ComputationFailed
from manifest_service.images.objects.stored_object import ObjectMissing
from manifest_service.images.streams import ranges
from manifest_service.images.streams.forward import Recorded
from manifest_service.images.streams.patience import Patience
from manifest_service.images.streams.spool import SpoolSettings
from manifest_service.images.streams.stream import StreamSettings, StreamSource
from tests.images.scripted import ScriptedObject, cut, longer, missing, stalled, then, trickling, whole
from tests.waiting import eventually

DATA = random.Random(1).randbytes(100_000)
OTHER = random.Random(2).randbytes(100_000)
VERIFIED = Recorded(len(DATA), has_checksums=True)
UNVERIFIED = Recorded(len(DATA))
WINDOW = 10_000
SETTINGS = StreamSettings(WINDOW, Patience(silence=60.0, pause=0.0), SpoolSettings(reserve=0))


def opened(
    stored: ScriptedObject, recorded: Recorded = UNVERIFIED, settings: StreamSettings = SETTINGS
) -> StreamSource:
    return StreamSource(stored, recorded, settings)


def read(source: Source, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    return bytes(buffer[: source.readinto(memoryview(buffer), offset)])


def read_all(source: StreamSource, step: int = 3000) -> bytes:
    return b"".join(read(source, offset, step) for offset in range(0, source.size, step))


def read_to_the_end(source: StreamSource) -> None:
    read_all(source)
    source.verify_unchanged()


def test_what_is_read_in_order_is_fetched_once() -> None:
    stored = ScriptedObject(DATA)

    with opened(stored) as source:
        assert (source.size, source.next_data(7)) == (len(DATA), range(7, len(DATA)))
        assert read_all(source) == DATA
        assert read(source, len(DATA) - WINDOW, WINDOW) == DATA[-WINDOW:]
        assert read(source, len(DATA), 5) == b""
        source.verify_unchanged()

    assert (stored.given, stored.requests, source.is_spooled) == (len(DATA), [(0, None)], False)


def test_a_jump_ahead_keeps_what_lies_between_as_far_as_the_window_goes() -> None:
    stored = ScriptedObject(DATA)

    with opened(stored) as source:
        assert read(source, 50_000, 10) == DATA[50_000:50_010]
        assert read(source, 50_010 - WINDOW, 500) == DATA[50_010 - WINDOW :][:500]

    assert stored.requests == [(0, None)]


def test_a_read_behind_the_window_spools_everything(tmp_path: Path) -> None:
    stored = ScriptedObject(DATA)

    with opened(stored) as source:
        read(source, 50_000, 10)
        assert read(source, 0, 100) == DATA[:100]
        assert source.is_spooled
        assert stored.requests == [(0, None), (0, None)]
        assert read_all(source) == DATA
        source.verify_unchanged()

    assert stored.given <= len(DATA) + 50_010 + (8 << 20)


def test_who_says_that_it_will_jump_has_nothing_fetched_twice() -> None:
    stored = ScriptedObject(DATA)

    with opened(stored) as source:
        read(source, 0, 100)
        source.skip_to(90_000)
        assert read(source, 90_000, 10) == DATA[90_000:90_010]
        assert read(source, 50, 10) == DATA[50:60]
        assert read_all(source) == DATA

    assert stored.given == len(DATA)


def test_whoever_needs_a_file_gets_one_with_all_bytes() -> None:
    stored = ScriptedObject(DATA)

    with opened(stored) as source:
        read(source, 0, 20_000)
        with FileSource(os.dup(source.fileno())) as file:
            assert file.size == len(DATA)
            found = bytearray(len(DATA))
            read_exactly(file, memoryview(found), 0)

    assert found == DATA


def _change(data: bytes, mark: str | None = None) -> Callable[[ScriptedObject], None]:
    def change(scripted: ScriptedObject) -> None:
        scripted.data, scripted.mark = data, mark

    return change


@pytest.mark.parametrize("place", [0, 4_000, 50_009])
def test_a_store_that_gives_other_bytes_the_second_time_gives_no_source(place: int) -> None:
    stored = ScriptedObject(DATA)
    altered = bytearray(DATA)
    altered[place] ^= 1

    with opened(stored, VERIFIED) as source:
        read(source, 50_000, 10)
        stored.data = bytes(altered)
        with pytest.raises(ComputationFailed, match="not those that came before") as caught:
            read_all(source)

    assert (caught.value.code, caught.value.retriable) == ("source-changed", True)


@pytest.mark.parametrize("mark", [None, "the same"])
def test_what_came_twice_is_compared_also_where_nobody_reads_that_far_again(mark: str | None) -> None:
    stored = ScriptedObject(DATA, mark=mark)
    altered = bytearray(DATA)
    altered[4_000] ^= 1

    with opened(stored, VERIFIED) as source:
        read_all(source)
        stored.data = bytes(altered)
        read(source, 4_000, 10)
        with pytest.raises(ComputationFailed, match="not those that came before"):
            source.verify_unchanged()


@pytest.mark.parametrize("cuts", [(), (10_000,), (0, 30_000, 60_000), (99_999,)])
@pytest.mark.parametrize("recorded", [VERIFIED, UNVERIFIED])
@pytest.mark.parametrize("seeks", [True, False])
def test_what_breaks_off_is_gone_on_with(cuts: tuple[int, ...], recorded: Recorded, seeks: bool) -> None:
    stored = ScriptedObject(DATA, [*map(cut, cuts), whole], seeks=seeks)

    with opened(stored, recorded) as source:
        assert read_all(source) == DATA

    expected = len(DATA) if seeks and recorded.has_checksums else len(DATA) + sum(cuts)
    assert stored.given == expected
    eventually(lambda: stored.closed == len(stored.requests))


def test_a_marked_object_is_gone_on_with_where_it_broke_off_though_nobody_recorded_a_checksum() -> None:
    stored = ScriptedObject(DATA, [cut(40_000), whole], seeks=True, mark="first")

    with opened(stored, UNVERIFIED) as source:
        assert read_all(source) == DATA

    assert stored.requests == [(0, None), (40_000, None)]


@pytest.mark.parametrize(
    "stored",
    [
        ScriptedObject(DATA, [then(_change(OTHER), cut(40_000)), whole]),
        ScriptedObject(DATA, [then(_change(DATA, "second"), cut(40_000)), whole], seeks=True, mark="first"),
        ScriptedObject(DATA, [then(_change(DATA + b"more"), cut(40_000)), whole], seeks=True),
    ],
    ids=["other bytes", "other mark", "other size"],
)
def test_a_version_is_never_continued_with_another_one(stored: ScriptedObject) -> None:
    with opened(stored) as source, pytest.raises(ComputationFailed, match="changed while it was read") as caught:
        read_all(source)

    assert caught.value.code == "source-changed"


def test_an_object_that_is_gone_when_it_should_go_on_has_changed() -> None:
    stored = ScriptedObject(DATA, [cut(40_000), missing])

    with opened(stored) as source, pytest.raises(ComputationFailed, match="no longer has it"):
        read_all(source)


def test_an_object_that_is_not_there_is_missing() -> None:
    with pytest.raises(ObjectMissing):
        opened(ScriptedObject(DATA, [missing]))


@pytest.mark.parametrize("silently", [True, False])
def test_a_store_that_ends_early_each_time_is_given_up_for_now(silently: bool) -> None:
    stored = ScriptedObject(DATA, [cut(70_000, silently=silently)])

    with opened(stored) as source, pytest.raises(ComputationFailed, match="first 70000 bytes of 100000") as caught:
        read_all(source)

    assert (caught.value.code, caught.value.retriable, len(stored.requests)) == ("store-broken", True, 5)


def test_a_store_with_more_bytes_than_recorded_is_a_mismatch() -> None:
    stored = ScriptedObject(DATA, [longer(b"more")], size=None)

    with opened(stored) as source, pytest.raises(ComputationFailed, match="100000 bytes, and more came") as caught:
        read_to_the_end(source)

    assert (caught.value.code, caught.value.retriable) == ("source-mismatch", False)


def test_a_store_with_another_size_says_so_at_once() -> None:
    with opened(ScriptedObject(DATA), Recorded(12)) as source:
        assert source.size == len(DATA)


def test_bytes_that_nobody_knows_the_number_of_are_not_read() -> None:
    with pytest.raises(ComputationFailed, match="neither Glance nor the scripted store says how many"):
        opened(ScriptedObject(DATA, size=None), Recorded())


@pytest.fixture
def silent() -> Iterator[ScriptedObject]:
    stored = ScriptedObject(DATA, [stalled(40_000)])
    yield stored
    stored.ended.set()


@pytest.mark.slow
def test_a_store_that_falls_silent_is_asked_again_and_given_up_in_the_end(silent: ScriptedObject) -> None:
    hasty = StreamSettings(WINDOW, Patience(silence=0.5, pause=0.0))

    with opened(silent, settings=hasty) as source:
        assert read(source, 0, 40_000) == DATA[:40_000]
        with pytest.raises(ComputationFailed, match=r"no byte came for 0\.5 seconds") as caught:
            read(source, 40_000, 1)

    assert (caught.value.code, caught.value.retriable) == ("store-broken", True)
    assert len(silent.requests) >= 5


def test_who_waits_for_a_silent_store_can_be_stopped(silent: ScriptedObject) -> None:
    class StopAsked(Exception):
        pass

    def tick() -> None:
        if asked:
            raise StopAsked

    asked: list[bool] = []
    with opened(silent, settings=StreamSettings(WINDOW, Patience(60.0, 60.0, tick))) as source:
        read(source, 0, 40_000)
        asked.append(True)
        with pytest.raises(StopAsked):
            read(source, 40_000, 1)


def test_who_waits_for_bytes_that_trickle_in_can_be_stopped() -> None:
    class StopAsked(Exception):
        pass

    def tick() -> None:
        if asked:
            raise StopAsked

    asked: list[bool] = []
    stored = ScriptedObject(DATA, [trickling(0.001)])
    with opened(stored, settings=StreamSettings(WINDOW, Patience(60.0, 60.0, tick))) as source:
        asked.append(True)
        with pytest.raises(StopAsked):
            read(source, 0, 5_000)
        stored.ended.set()


def test_a_store_that_names_versions_gives_what_lies_behind_the_window_in_ranges() -> None:
    data = random.Random(3).randbytes(9 << 20)
    stored = ScriptedObject(data, seeks=True, is_random=True, mark="first")

    with opened(stored, Recorded(len(data))) as source:
        read(source, 8 << 20, 10)
        assert read(source, 5, 6 << 20) == data[5 : 5 + (6 << 20)]
        assert read(source, (4 << 20) - 5, 10) == data[(4 << 20) - 5 :][:10]
        read(source, 8 << 20, 1 << 20)
        source.verify_unchanged()
        assert not source.is_spooled

    block = 4 << 20
    assert stored.requests == [(0, None), (0, block), (block, block)]


def test_a_range_of_another_version_is_not_taken() -> None:
    stored = ScriptedObject(DATA, seeks=True, is_random=True, mark="first")

    with opened(stored) as source:
        read(source, 50_000, 10)
        stored.mark = "second"
        with pytest.raises(ComputationFailed, match="another version") as caught:
            read(source, 0, 10)

    assert caught.value.code == "source-changed"


def test_ranges_without_end_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_BLOCK", 1000)
    stored = ScriptedObject(DATA, seeks=True, is_random=True, mark="first")
    rng = random.Random(1)

    with opened(stored, VERIFIED) as source:
        read_all(source)
        for offset in (rng.randrange(len(DATA) - WINDOW - 10) for _ in range(1000)):
            assert read(source, offset, 10) == DATA[offset : offset + 10]
        source.verify_unchanged()
        assert source.is_spooled

    assert 3 * len(DATA) < stored.given < 5 * len(DATA)


@pytest.mark.parametrize("for_another", [False, True])
def test_a_range_of_other_bytes_under_the_same_mark_is_noticed(for_another: bool) -> None:
    stored = ScriptedObject(DATA, seeks=True, is_random=True, mark="first")

    with opened(stored, VERIFIED) as source:
        read(source, 50_000, 10)
        stored.data = OTHER
        assert read(source, 0, 10) == OTHER[:10]
        stored.data = DATA
        read_all(source)
        with pytest.raises(ComputationFailed, match="other bytes in a range") as caught:
            source.fileno() if for_another else source.verify_unchanged()

    assert (caught.value.code, caught.value.retriable) == ("source-changed", True)


def test_ranges_are_asked_for_again_too() -> None:
    stored = ScriptedObject(DATA, [whole, cut(5), cut(7, silently=True), whole], seeks=True, is_random=True, mark="1")

    with opened(stored) as source:
        read(source, 50_000, 10)
        assert read(source, 0, 10) == DATA[:10]

    broken = ScriptedObject(DATA, [whole, cut(5)], seeks=True, is_random=True, mark="1")
    with opened(broken) as source:
        read(source, 50_000, 10)
        with pytest.raises(ComputationFailed, match="5 tries did not bring") as caught:
            read(source, 0, 10)
    assert (caught.value.code, caught.value.retriable) == ("store-broken", True)


@pytest.mark.parametrize(
    ("spool", "code", "retriable"),
    [
        (SpoolSettings(largest=len(DATA) - 1, reserve=0), "spool-limit", False),
        (SpoolSettings(reserve=1 << 60), "scratch-full", True),
        (SpoolSettings(folder="/no/such/folder"), "scratch-full", True),
    ],
)
def test_a_source_that_has_no_room_says_so(spool: SpoolSettings, code: str, retriable: bool) -> None:
    cramped = StreamSettings(WINDOW, SETTINGS.patience, spool)

    with opened(ScriptedObject(DATA), settings=cramped) as source, pytest.raises(ComputationFailed) as caught:
        source.fileno()

    assert (caught.value.code, caught.value.retriable) == (code, retriable)


def test_room_is_reserved_before_anything_is_written(tmp_path: Path) -> None:
    with opened(
        ScriptedObject(DATA), settings=StreamSettings(WINDOW, spool=SpoolSettings(str(tmp_path), reserve=0))
    ) as (source):
        source.skip_to(len(DATA))
        read(source, 0, 1)

        assert os.fstat(source.fileno()).st_blocks * 512 >= len(DATA)
        assert list(tmp_path.iterdir()) == []


READS = st.lists(st.tuples(st.integers(0, 2100), st.integers(0, 700), st.booleans()), max_size=12)
CUTS = st.lists(st.integers(0, 2000), max_size=3)


@settings(deadline=None, max_examples=150)
@given(
    size=st.integers(0, 2000), window=st.integers(1, 2500), reads=READS, cuts=CUTS,
    seeks=st.booleans(), is_random=st.booleans(), mark=st.sampled_from([None, "m"]), verified=st.booleans(),
)  # fmt: skip
def test_any_order_of_reading_gives_the_bytes(  # type: ignore[no-untyped-def]
    size, window, reads, cuts, seeks, is_random, mark, verified
) -> None:
    data = DATA[:size]
    stored = ScriptedObject(data, [*map(cut, cuts), whole], seeks=seeks, is_random=is_random and seeks, mark=mark)
    folder = SpoolSettings(tempfile.gettempdir(), reserve=0)

    with opened(stored, Recorded(size, verified), StreamSettings(window, SETTINGS.patience, folder)) as source:
        for offset, length, announced in reads:
            if announced:
                source.skip_to(min(offset, size))
            assert read(source, offset, length) == data[offset : offset + length]
        source.verify_unchanged()
