"""A shell that lives as long as a page: what one command exports, the next one has."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.reaper import reaper
from tests.waiting import eventually

_PATIENCE = 300.0
_END = "end-of-command"
_SAYS_SO = {
    "serve": "end it: Ctrl-C",
    "listener": "listening for notifications",
    "worker": "waits for images",
    "api": "the API answers at",
}
_ENDLESS = re.compile(rf"(?:make|(?:\S*/)?manifest-service) ({'|'.join(_SAYS_SO)})\b(?!.*--help)")


class ShellFailedError(Exception):
    """A command did not end, or what should go on has ended."""


class Shell:
    """bash in a folder. Commands that run until Ctrl-C are started, waited for, and ended with the shell."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: list[tuple[str, Path, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reaper().watch(self._bash.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = [(command, log) for command, log, process in self._running if process.poll() is not None]
        for _, _, process in reversed(self._running):
            _interrupt(process)
        if error is not None:
            os.killpg(self._bash.pid, signal.SIGKILL)  # It may be at a command that does not end.
        self._bash.communicate(timeout=_PATIENCE)
        reaper().forget(self._bash.pid)
        if ended and error is None:
            raise ShellFailedError("\n".join(f"{command} has ended:\n{log.read_text()}" for command, log in ended))

    def run(self, command: str) -> tuple[int, str]:
        """Type a command, and give its exit status and all that it printed."""
        endless = _ENDLESS.match(command)
        if endless is not None:
            return 0, self._start(command, _SAYS_SO[endless[1]])
        assert self._bash.stdin is not None
        # Whoever asks for $? next shall have it.
        script = f"{{ {command}\n}} </dev/null; _status=$?; printf '\\n{_END} %d\\n' $_status; (exit $_status)\n"
        self._bash.stdin.write(script.encode())
        self._bash.stdin.flush()
        printed = self._read_to_end(command)
        text, _, status = printed.rpartition(f"\n{_END} ")
        return int(status), text

    def _read_to_end(self, command: str) -> str:
        assert self._bash.stdout is not None
        printed = b""
        deadline = time.monotonic() + _PATIENCE
        while not re.search(rb"\n%s \d+\n$" % _END.encode(), printed):
            ready, _, _ = select.select([self._bash.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ShellFailedError(
                    f"{command} does not end; so far it printed:\n{printed.decode(errors='replace')}"
                )
            piece = os.read(self._bash.stdout.fileno(), 65536)
            if not piece:
                raise ShellFailedError(f"the shell ended at {command}:\n{printed.decode(errors='replace')}")
            printed += piece
        return printed.decode(errors="replace")

    def _start(self, command: str, sign: str) -> str:
        log = self._folder / f".log-{len(self._running)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self._folder,
                env={**self._environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        reaper().watch(process.pid)
        self._running.append((command, log, process))
        eventually(lambda: sign in log.read_text() or process.poll() is not None, _PATIENCE)
        if process.poll() is not None:
            raise ShellFailedError(f"{command} has ended:\n{log.read_text()}")
        return log.read_text()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """What Ctrl-C does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(_PATIENCE)
    reaper().forget(process.pid)
