"""`python -m tests.fuzz`: see the package."""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory

MODES = {"images": "tests.fuzz.images", "bytes": "tests.fuzz.damaged"}
_POLL = 0.5


def main(arguments: Sequence[str]) -> int:
    """Run one mode, or both; exit code 1 after a find."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Search for wrong digests.")
    parser.add_argument("mode", nargs="?", choices=MODES, help="only this one")
    parser.add_argument("--seed", type=int, help="where to begin; printed, and drawn by lot unless given")
    parser.add_argument("--seconds", type=int, default=0, help="end after so many; 0: never")
    parser.add_argument("--runs", type=int, default=-1, help="end after so many inputs; -1: never")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    modes = MODES if given.mode is None else [given.mode]
    for mode in modes:
        print(f"fuzzing {mode}: --seed {seed}", flush=True)
    # Theirs goes with ours: atheris ends its process without a word to Python.
    with TemporaryDirectory(prefix="manifest-service-fuzz-") as folder:
        numbers = [str(seed), str(given.seconds), str(given.runs)]
        return _run([[sys.executable, "-m", MODES[mode], *numbers] for mode in modes], folder)


def _run(commands: Sequence[Sequence[str]], folder: str) -> int:
    """Run each in a process of its own; the first that finds something ends all."""
    processes = [subprocess.Popen(command, env={**os.environ, "TMPDIR": folder}) for command in commands]
    try:
        while True:
            codes = [process.poll() for process in processes]
            if any(codes) or None not in codes:
                return int(any(codes))
            time.sleep(_POLL)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
