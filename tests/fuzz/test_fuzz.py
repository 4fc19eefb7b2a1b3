"""The fuzzer itself, for a bounded number of inputs, and all that it ever found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks.damage import BASES, judge

pytestmark = pytest.mark.slow

_FORGOTTEN_PEAK = ("sh", "-c", '"$@"; exit $?', "sh")
"""A shell in between. Who is started straight from this process is said to have had its peak of memory, too
(`ru_maxrss` outlives execve), and the fuzzer takes that for a find: some tests before need gigabytes."""

FINDS = sorted((Path(__file__).parent / "finds").glob("*"))


@pytest.mark.parametrize("find", FINDS, ids=lambda find: find.name)
def test_what_was_found_once_stays_right(find: Path, tmp_path: Path) -> None:
    judge(find.read_bytes(), tmp_path)


@pytest.mark.parametrize("number", range(len(BASES)))
def test_each_base_is_cut_at_every_structure(number: int, tmp_path: Path) -> None:
    """Header, extensions, tables, clusters: each boundary, and a byte before and behind it."""
    base = BASES[number]
    image = base.write()
    boundaries = {0, 4, 72, 104, 112, base.cluster_size, base.l1_offset, base.l1_offset + 8 * base.l1_entries}
    boundaries |= {base.l2_offset, base.data_offset, base.tail_offset, len(image)}
    boundaries |= set(range(0, len(image), base.cluster_size))
    for end in sorted({boundary + near for boundary in boundaries for near in (-1, 0, 1)}):
        if 0 <= end <= len(image):
            judge(image[:end], tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mode", "runs"), [("images", 5), ("bytes", 400)])
def test_a_bounded_run_finds_nothing_and_leaves_nothing(mode: str, runs: int, tmp_path: Path) -> None:
    command = [*_FORGOTTEN_PEAK, sys.executable, "-m", "tests.fuzz", mode, "--seed", "1", "--runs", str(runs)]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert "--seed 1" in done.stdout
    assert list(tmp_path.iterdir()) == []
