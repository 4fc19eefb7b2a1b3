"""Disks that are full: the workers' scratch folder, and the database's own."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.faults.families.fault import Fault, Hand, start_again
from tests.faults.site import Site


def faults(site: Site) -> Sequence[Fault]:
    """None where this machine lets us mount no disk that may be filled."""
    if not site.small_disks:
        return []
    return [
        Fault("scratch: disk full", _filling("scratch"), lasts=(1, 4), weight=3),
        Fault("database: disk full", _filling("database"), lasts=(1, 4), weight=2),
    ]


def _filling(disk: str) -> Callable[[Hand], AbstractContextManager[None]]:
    @contextmanager
    def inject(hand: Hand) -> Iterator[None]:
        filler = hand.site.small_disks[disk] / "filler"
        _fill(filler)
        yield
        filler.unlink()
        start_again(hand.site.server)  # PostgreSQL may have given up, and what keeps it running starts it again.

    return inject


def _fill(path: Path) -> None:
    """Take all the room that there is, down to single pages."""
    with path.open("wb") as file:
        size, step = 0, 64 << 20
        while step >= 4096:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError:
                step //= 2
