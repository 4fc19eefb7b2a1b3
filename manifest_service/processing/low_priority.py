"""Having a thread wait behind everybody else: for the processor, and for the disk where its scheduler heeds that."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from contextlib import suppress

_LEAST_NICE = 19
# ioprio_set(2): no library wraps it. Numbers of the call from the kernel's own tables, by machine.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13


def lower_priority() -> None:
    """Lower the calling thread's priority for good; threads that it starts have the same. Best effort."""
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, _LEAST_NICE)  # On Linux, a thread's own.
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, thread, _IOPRIO_IDLE)
