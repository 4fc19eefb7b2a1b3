"""The benchmarks' own reckoning; their figures are nobody's promise."""

import subprocess

import pytest

from tests.bench.images import BenchImage
from tests.bench.inflating import Stretch, fastest_possible
from tests.bench.measuring import Median, Run, measure
from tests.bench.peers import FLAT_PEERS, HASH_ALONE, OURS
from tests.bench.report import Measured, page, table_of, with_section


@pytest.mark.parametrize(
    ("stretches", "seconds"),
    [
        ([], 10.0),
        ([Stretch(100, 0.0)], 10.0),  # nothing to inflate: as long as hashing
        ([Stretch(100, 30.0)], 20.0),  # all cores busy with both
        ([Stretch(50, 30.0), Stretch(50, 0.0)], 22.5),  # zeros at the end: one core alone for 5 seconds
        ([Stretch(50, 0.0), Stretch(50, 30.0)], 20.0),  # zeros at the beginning cost nothing
    ],
)
def test_what_no_program_can_go_below(stretches: list[Stretch], seconds: float) -> None:
    assert fastest_possible(stretches, hashing=10.0, cores=2) == pytest.approx(seconds)


def test_a_command_is_measured_with_its_children() -> None:
    run = measure("python3 -c 'x = bytearray(50_000_000); import time; time.sleep(6)'; echo word and more")

    assert run.output == "word"
    assert run.wall > 6
    assert run.memory > 40_000_000


def test_a_command_that_fails_gives_no_figures() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measure("false | true")


def test_the_page_has_each_way_and_its_ratio() -> None:
    runs = {peer: Median.of([Run(2.0, 3.0, 1 << 20, "x"), Run(4.0, 3.0, 1 << 20, "x")]) for peer in FLAT_PEERS}
    runs[HASH_ALONE] = Median(2.0, 2.0, 1 << 20)
    measured = Measured(BenchImage("a", "some image", "a", ()), 2, 1 << 30, 1 << 29, runs, [])

    text = page([table_of(measured)])

    assert all(peer.title in text for peer in FLAT_PEERS)
    assert f"| {OURS.title} | 3.00 | 3.00 | 1 | 1.00 |" in text
    assert "Ours takes 1.50 times as long as the hash alone (target: 1.15)." in text


def test_a_section_takes_the_place_of_its_older_one() -> None:
    old = page(["## First\n\n1\n", "## Second\n\n2\n", "## Gone\n\n3\n"])

    assert with_section(old, "## Second\n\nnew\n", ["first", "second"]) == page(
        [
            "## First\n\n1\n",
            "## Second\n\nnew\n",
        ]
    )
    assert with_section("", "## Second\n\nnew\n", ["first", "second"]) == page(["## Second\n\nnew\n"])
