"""One real server as a child process: started, waited for, stopped, killed, and started again where it was."""

import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.reaper import reaper

# Below the range from which the kernel hands out ports to outgoing connections (32768 and up): a killed server finds
# its port free again when it restarts.
_PORTS = range(15_000, 32_000)
_SHARES = 8
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _SHARES
"""Each process that runs tests has ports of its own: another could take one between its being found and its use."""
_given: set[int] = set()
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


class ServerFailedError(Exception):
    """A server did not start; the message ends with what its logs say."""


def free_port() -> int:
    """A loopback port that nobody listens on, never the same one again.

    Not from `random`: pytest-randomly gives parallel runs equal seeds.
    """
    while True:
        port = secrets.choice(_PORTS[_SHARE::_SHARES])
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


class Server(ABC):
    """What all servers share; a subclass says what to prepare, what to run, and how to ask whether it answers."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_seconds: ClassVar[float] = 180.0
    """How long a start may take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @abstractmethod
    def prepare(self) -> None:
        """Fill the data folder, once, before the first start."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The server in the foreground."""

    @abstractmethod
    def ask(self) -> None:
        """Connect as a client would; raises whatever the client raises as long as the server does not answer."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment of the server."""
        return {}

    def user(self) -> str | None:
        """Run as this user instead of the one who runs the tests."""
        return None

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The main process, for tests that send it signals of their own."""
        if self._process is None:
            raise ServerFailedError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it, where it does not run already, and return when it answers."""
        if self.running:
            self._wait_for_answer()  # It may be recovering.
            return
        if not self._prepared:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # passwords lie in it
            self.prepare()
            self._prepared = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                user=self.user(),
                group=self.user(),
                extra_groups=None if self.user() is None else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, whose fixtures then end the servers in order
            )
        reaper().watch(self._process.pid)
        try:
            self._wait_for_answer()
        except BaseException:  # Ctrl-C too: nobody stops a server whose start did not return
            self.kill()
            raise

    def stop(self) -> None:
        """End it as its operator would, and wait for that."""
        if self._process is None:
            return
        family = descendants(self._process.pid)
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, self.stop_signal)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return
        self._ended(family)

    def kill(self) -> None:
        """SIGKILL to the server and all its children: what a power cut or the kernel's memory killer does."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)  # It is to have no child that we do not know of.
        family = descendants(self._process.pid)
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._ended(family)

    def restart(self) -> None:
        """Start again on the same port and data folder; stop first if it runs."""
        self.stop()
        self.start()

    def logs(self) -> Sequence[Path]:
        """The files to show when it does not start."""
        return [self.log]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ended(self, family: Sequence[int]) -> None:
        """Make sure that no child outlives the server: it could still hold the data folder or the port."""
        assert self._process is not None
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(map(alive, family)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        reaper().forget(self._process.pid)
        self._process = None

    def _wait_for_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.start_seconds
        while True:
            try:
                self.ask()
            except Exception as error:
                # Each client library has its own errors for "not yet"; the last one is told when time is up.
                last = error
            else:
                return
            if (status := self._process.poll()) is not None:
                raise self._failure(f"{self.name} ended with status {status} while starting") from last
            if time.monotonic() > deadline:
                raise self._failure(f"{self.name} did not answer within {self.start_seconds:.0f} s") from last
            time.sleep(_POLL_SECONDS)

    def _failure(self, sentence: str) -> ServerFailedError:
        tails = [f"--- {log}\n{_tail(log)}" for log in self.logs()]
        return ServerFailedError("\n".join([sentence, *tails]))


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    except FileNotFoundError:
        return "(not written)"


def descendants(ancestor: int) -> list[int]:
    """All children of children, read from /proc: PostgreSQL and Erlang give theirs process groups of their own."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(ancestor, []))
    for pid in found:
        found += children.get(pid, [])
    return found


def alive(pid: int) -> bool:
    """Whether it still runs; a zombie holds neither files nor ports, unless threads of it have not ended yet."""
    try:
        is_zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not is_zombie or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False
