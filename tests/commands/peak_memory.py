"""How much memory a command of ours takes."""

import subprocess
import sys

from tests.servers.service import EXECUTABLE


def peak_of(*arguments: object) -> int:
    """Bytes of memory that a command had at its peak.

    A process in between asks: of a child of this one, the kernel would tell this one's own peak (`ru_maxrss` outlives
    execve), which tests before may have driven up.
    """
    ask = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", ask, str(EXECUTABLE), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024
