"""Watching the processes that are never killed: memory, open files and threads, a look a second."""

import os
import statistics
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.cast import Member

_INTERVAL = 1.0
_WARM_UP = 60
"""Looks during which a process still takes what it will need: modules, connections, an arena for each thread."""
_LEAST = 2 * _WARM_UP
"""Looks without which a run is too short to tell."""
_WINDOW = 0.25
"""Part of what is left of the run, at its begin and at its end."""


@dataclass(frozen=True)
class Look:
    """What a process had at one moment. memory: resident, in bytes."""

    memory: int
    files: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """Medians of an early part of the run and of its last part."""

    early: Look
    late: Look
    most: Look


class Watch:
    """Looks at processes from entering to leaving a `with` block."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._looks: dict[str, list[Look]] = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")

    def trends(self) -> Mapping[str, Trend]:
        """How each process fared, by name; none where the run was too short to tell."""
        return {name: _trend_of(looks) for name, looks in self._looks.items() if len(looks) >= _LEAST}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            for member in self._members:
                if pids := member.pids:
                    with suppress(OSError, KeyError):  # It has just ended, and a zombie has no memory.
                        # What works is the last one: a supervisor has nothing but its processes.
                        self._looks[member.name].append(_look_at(pids[-1]))


def _look_at(pid: int) -> Look:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Look(
        memory=int(status["VmRSS"].split()[0]) * 1024,
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
    )


def _trend_of(looks: Sequence[Look]) -> Trend:
    warm = looks[_WARM_UP:]
    length = int(len(warm) * _WINDOW)
    return Trend(_median(warm[:length]), _median(warm[-length:]), _most(looks))


def _median(looks: Sequence[Look]) -> Look:
    return Look(
        int(statistics.median(look.memory for look in looks)),
        int(statistics.median(look.files for look in looks)),
        int(statistics.median(look.threads for look in looks)),
    )


def _most(looks: Sequence[Look]) -> Look:
    return Look(
        max(look.memory for look in looks), max(look.files for look in looks), max(look.threads for look in looks)
    )
