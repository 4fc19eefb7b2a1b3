"""A machine that systemd has booted, with this machine's kernel and programs: a container, made by `boot-systemd`.

    this machine                          in there
    /usr               -- read-only -->   /usr            (systemd itself, qemu-img)
    Python's folder    -- read-only -->   /opt/python     (outside it may lie where ProtectHome= hides it)
    its packages       -- read-only -->   /opt/packages
    the checkout       -- read-only -->   /opt/checkout
    a test's folder    ----------------   wherever the test wants it
    loopback           ----------------   the same: servers of the tests are reached

All else is fresh and in memory: /etc knows no user but root, nothing is enabled, there is no udev and no D-Bus. The
command lies in /usr/local/bin, where the units look for it. What a container cannot show is what needs controllers of
its own: MemoryMax= has no effect in it.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from tests.servers import programs
from tests.servers.reaper import reaper

_CHECKOUT = Path(__file__).parents[2]
_BOOT = Path(__file__).with_name("boot-systemd")
_PYTHON = Path("/opt/python") / os.path.relpath(Path(sys.executable).resolve(), sys.base_prefix)
_TIME_TO_END = 60
"""Seconds beyond the program's, for the journal to be written."""


class MachineFailedError(Exception):
    """The program failed in the machine, or never ran; the message ends with the journal."""


def run(arguments: Sequence[str], shared: Path, shared_as: str, work: Path, timeout: float) -> str:
    """Boot, run Python with these arguments as root, and give what it printed.

    The program starts in the checkout. shared: a folder, which is `shared_as` in there. work: an empty folder.
    timeout: seconds. Raises MachineFailedError.
    """
    _require_what_it_needs()
    exchange, root = work / "exchange", work / "root"
    exchange.mkdir()
    root.mkdir()
    python = ["env", "PYTHONPATH=/opt/packages", "LD_LIBRARY_PATH=/opt/python/lib", _PYTHON]
    (exchange / "job").write_text(f"cd /opt/checkout && exec {shlex.join(map(str, [*python, *arguments]))}\n")
    environment = {
        "PATH": programs.PATH,
        "root": root,
        "exchange": exchange,
        "python": sys.base_prefix,
        "interpreter": _PYTHON,
        "packages": sysconfig.get_path("purelib"),
        "checkout": _CHECKOUT,
        "shared": shared,
        "shared_as": shared_as,
        "limit": timeout,
    }
    ending = _run_to_its_end({name: str(value) for name, value in environment.items()}, timeout + _TIME_TO_END)
    status = _text(exchange / "status").strip()
    if status != "0":
        told = "\n".join(_text(exchange / name) for name in ("errors", "journal"))
        raise MachineFailedError(f"the program ended with status {status or 'none'}, and {ending}\n{told}")
    return _text(exchange / "output")


def _require_what_it_needs() -> None:
    if not Path("/lib/systemd/systemd").exists():
        programs.missing("systemd is not installed: apt-get install systemd")
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if tried.returncode:
        programs.missing("a systemd of the tests' own needs root, who may make namespaces")


def _run_to_its_end(environment: dict[str, str], timeout: float) -> str:
    """How it ended, in words."""
    process = subprocess.Popen(
        ["unshare", "--mount", "--uts", "--ipc", _BOOT],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    reaper().watch(process.pid)
    try:
        printed, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"the machine did not end within {timeout:g} s"
    else:
        return f"the machine ended with status {process.returncode}\n{printed.decode(errors='replace')}"
    finally:
        process.terminate()
        process.communicate()
        reaper().forget(process.pid)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
