"""Measuring whole commands: wall time, CPU time and memory of a process and all its children."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOKS = 0.25
"""Seconds between two looks at the memory of the processes, which take some milliseconds each."""


@dataclass(frozen=True)
class Run:
    """One run. wall, cpu: seconds; memory: bytes at the peak, shared ones counted once, 0 if nobody looked; output: the
    first word that it printed."""

    wall: float
    cpu: float
    memory: int
    output: str


@dataclass(frozen=True)
class Median:
    """The medians of several runs, each on its own."""

    wall: float
    cpu: float
    memory: int

    @classmethod
    def of(cls, runs: Sequence[Run], memory: int | None = None) -> Median:
        """Of at least one run. memory: bytes that were seen in another one, if nobody looked in these."""
        return cls(
            statistics.median(run.wall for run in runs),
            statistics.median(run.cpu for run in runs),
            int(statistics.median(run.memory for run in runs)) if memory is None else memory,
        )


def measure(command: str, *, look: bool = True) -> Run:
    """Run a shell command to its end. Raises CalledProcessError if it fails.

    look: at its memory, which keeps it from its work for some milliseconds each time, and sees its end up to 50 ms
        late.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, text=True) as process:
        memory = _watch(process) if look else 0
        output = process.stdout.read() if process.stdout else ""
        process.wait()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, memory, (output.split() or [""])[0])


def _watch(process: subprocess.Popen[str]) -> int:
    """Look at a process and its children until it ends; give the most memory that they had together."""
    most = 0
    while True:
        try:
            process.wait(_LOOKS)
        except subprocess.TimeoutExpired:
            most = max(most, sum(_proportional_size(pid) for pid in _family(process.pid)))
        else:
            return most


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        try:
            lists = [path.read_text() for path in Path(f"/proc/{each}/task").glob("*/children")]
        except OSError:
            continue  # It has ended meanwhile.
        found += [int(child) for listed in lists for child in listed.split()]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and those of its children that still run have taken."""
    return sum(map(_ticks, _family(pid))) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _proportional_size(pid: int) -> int:
    """A process's memory, what it shares counted in part (Pss), in bytes; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
