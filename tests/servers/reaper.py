"""Kills the servers of a test run that was itself killed.

Fixtures end every server, after Ctrl-C too, but a pytest that got SIGKILL ends nothing. This process reads the numbers
of the servers' process groups from a pipe that closes when the test run is gone in whatever way, and kills those left.
"""

import contextlib
import os
import signal
import subprocess
import sys
from atexit import register
from functools import cache


class Reaper:
    """The test run's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, start_new_session=True, text=True, bufsize=1
        )
        register(self._close)

    def watch(self, group: int) -> None:
        """Have the group killed when the test run goes away."""
        self._write(f"+{group}")

    def forget(self, group: int) -> None:
        """The group has ended: its number may soon be somebody else's."""
        self._write(f"-{group}")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def reaper() -> Reaper:
    """The one reaper of this test run."""
    return Reaper()


def main() -> None:
    """Read until the pipe closes, then kill what was not taken back."""
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
