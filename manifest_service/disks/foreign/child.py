"""qemu-img in a child process that can do little harm: bounded, without a terminal, and told every file to open."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.shown import visible

_POLL = 0.1
"""Seconds between two looks at a working child."""
_LONGEST_ERROR = 4096
_NOT_STARTED = (126, 127)
"""How setpriv ends where it may not work, or cannot start the program; and the loader where a library is missing."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one qemu-img may take: bytes of address space, seconds of CPU time, bytes of the files that it writes."""

    memory: int
    cpu_time: int
    file_size: int


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended. errors: what it said, for our own eyes only: it may quote what the image says."""

    exit_code: int
    errors: str


def run_qemu_img(
    arguments: Sequence[str],
    descriptors: Sequence[int],
    output: BinaryIO,
    limits: ChildLimits,
    tick: Callable[[], None],
) -> ChildResult:
    """Run qemu-img to its end.

    descriptors: of open files, which it reaches as /dev/fd/N. output: a real file that takes its standard output.
    tick: called several times a second; what it raises ends the child and is passed on.
    Raises ComputationFailed: qemu-img-missing, also where it cannot be started; conversion-limit if the child was ended
    for what it took.
    """
    program = shutil.which("qemu-img")
    if program is None:
        raise ComputationFailed(
            FailureCode.QEMU_IMG_MISSING, "qemu-img reads images of this format, and is not installed", retriable=True
        )
    with open(os.memfd_create("errors", os.MFD_CLOEXEC), "r+b") as errors:
        process = subprocess.Popen(  # noqa: S603 - no shell, a list of ours  # nosec B603
            [*_bound_to_us(), program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=descriptors,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            _limit(process.pid, limits)
            _wait(process, tick)
        finally:
            process.kill()
            process.wait()
        told = os.pread(errors.fileno(), _LONGEST_ERROR, 0).decode("utf-8", "replace")
    _raise_if_limited(process.returncode, told, limits)
    if process.returncode in _NOT_STARTED:
        reason = f"qemu-img cannot be started here: {visible(told.strip())}"
        raise ComputationFailed(FailureCode.QEMU_IMG_MISSING, reason, retriable=True)
    return ChildResult(process.returncode, told)


def _limit(pid: int, limits: ChildLimits) -> None:
    """Bound a child that has just started. Not before it runs: code between fork and exec is not safe with threads."""
    wanted = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CPU: limits.cpu_time,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_CORE: 0,
    }
    with suppress(ProcessLookupError):  # It has ended already.
        for kind, value in wanted.items():
            _, inherited = resource.getrlimit(kind)
            # What we were given as the most can be lowered, and not raised.
            most = value if inherited == resource.RLIM_INFINITY else min(value, inherited)
            resource.prlimit(pid, kind, (most, most))


def _bound_to_us() -> Sequence[str]:
    """What has a child killed when the thread that started it ends, be it by `kill -9`; nothing where that lacks."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
    while True:
        tick()
        try:
            process.wait(_POLL)
        except subprocess.TimeoutExpired:
            continue
        return


def _raise_if_limited(exit_code: int, errors: str, limits: ChildLimits) -> None:
    if exit_code >= 0 and "Cannot allocate memory" not in errors:
        return
    raise ComputationFailed(
        FailureCode.CONVERSION_LIMIT,
        f"qemu-img was ended with exit code {exit_code}; it may take {limits.memory} bytes of memory,"
        f" {limits.cpu_time} seconds of CPU time and files of {limits.file_size} bytes",
        # Of the signals, only this one says that the image itself asks for too much.
        retriable=exit_code != -signal.SIGXFSZ,
    )
