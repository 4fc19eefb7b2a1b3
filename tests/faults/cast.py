"""The cast: our processes, each started again whenever it ends, as systemd does with `Restart=always`."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.process import descendants
from tests.servers.reaper import reaper
from tests.servers.service import ServiceProcess
from tests.waiting import eventually

RESTART_PAUSE = 0.1
"""Seconds before it is started again: systemd's RestartSec as it comes."""
_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_SAYS = {"listener": "listening for notifications", "worker": "waits for images", "api": "the API answers"}
_guard = threading.Lock()


class Member:
    """One process of the cast."""

    def __init__(
        self, process: ServiceProcess, *, is_mortal: bool, environment: Mapping[str, str] | None = None
    ) -> None:
        """process: what to run. is_mortal: whether kills may choose it; the others are watched for what they keep."""
        self.process = process
        self.name = process.folder.name
        self.is_mortal = is_mortal
        self.starts = 0
        self._is_to_live = True
        self._said_before = 0
        self.exit_codes: list[int] = []
        self._last_words: list[str] = []
        self._environment = {**os.environ, **process.environment(), **(environment or {})}
        self._ends = threading.Event()
        self._running: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"keep-{self.name}", daemon=True)

    @property
    def kind(self) -> str:
        """`listener`, `worker` or `api`."""
        return self.process.name

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        running = self._running
        return running.pid if running is not None and running.poll() is None else None

    @property
    def pids(self) -> Sequence[int]:
        """Of all its processes: the one that was started, and those below it."""
        pid = self.pid
        return [] if pid is None else [pid, *descendants(pid)]

    @property
    def log(self) -> Path:
        """All that it said, over all its lives."""
        return self.process.log

    @property
    def works(self) -> bool:
        """Whether it has come as far as doing its work, in this life."""
        return self._is_to_live and _SAYS[self.kind] in self.process.log_text()[self._said_before :]

    def start(self) -> None:
        """Run it, from now on."""
        self._thread.start()

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal, to all its processes what none can refuse; answers whether it ran."""
        pid = self.pid
        if pid is None:
            return False
        if number in (signal.SIGTERM, signal.SIGKILL):
            self._is_to_live = False
        send = os.kill if number is signal.SIGTERM else os.killpg
        with suppress(ProcessLookupError):
            send(pid, number)
        return True

    def own_ends(self) -> Sequence[str]:
        """Of those lives that nobody ended: the exit code, and what was said last."""
        # 128 more: it was asked to end before it had begun.
        ended = {0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}
        lives = zip(self.exit_codes, self._last_words, strict=True)
        return [f"{code}: {words}" for code, words in lives if code not in ended]

    def zombies(self) -> int:
        """Children that have ended and that it has not waited for."""
        return 0 if self.pid is None else sum(map(_is_zombie, descendants(self.pid)))

    def ask_to_stop(self) -> None:
        """Have it end in good order, for good."""
        self._ends.set()
        self.signal(signal.SIGTERM)

    def join(self) -> int | None:
        """Wait for its end; gives its last exit code, None where it had to be killed."""
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            return self.exit_codes[-1]
        self.signal(signal.SIGKILL)
        self._thread.join()
        return None

    def _keep(self) -> None:
        while not self._ends.is_set():
            self._said_before = len(self.process.log_text())
            self._is_to_live = True
            with self.log.open("ab") as log:
                self._running = subprocess.Popen(
                    self.process.command(),
                    cwd=self.process.folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.starts += 1
            group = self._running.pid
            with _guard:
                reaper().watch(group)
            if self._ends.is_set():  # Whoever asked for the end met no process.
                self.signal(signal.SIGTERM)
            self.exit_codes.append(self._running.wait())
            self._last_words.append(self.process.log_text()[self._said_before :].rstrip().rpartition("\n")[2])
            with _guard:
                reaper().forget(group)
            self._ends.wait(RESTART_PAUSE)


def start_all(members: Sequence[Member]) -> None:
    """Start all; returns when each does its work. What is said before a listener was there, nobody hears."""
    for member in members:
        member.start()
    for member in members:
        eventually(lambda: member.works, _START_SECONDS)  # noqa: B023


def stop_all(members: Sequence[Member]) -> Mapping[str, int | None]:
    """End all in good order, once they work; gives their exit codes by name."""
    for member in members:
        eventually(lambda: member.works, _START_SECONDS)  # noqa: B023
    for member in members:
        member.ask_to_stop()
    return {member.name: member.join() for member in members}


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
