"""`python -m tests.fuzz`: see the package."""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence

MODES = ("images", "bytes")
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
    if given.mode is None:
        return _run_both(seed, given.seconds, given.runs)
    print(f"fuzzing {given.mode}: --seed {seed}", flush=True)
    if given.mode == "images":
        from tests.fuzz import images  # noqa: PLC0415

        return images.run(seed, given.seconds, given.runs)
    from tests.fuzz import damaged  # noqa: PLC0415

    return damaged.run(seed, given.seconds, given.runs)


def _run_both(seed: int, seconds: int, runs: int) -> int:
    """Run each mode in a process of its own; the first that finds something ends both."""
    options = ["--seed", str(seed), "--seconds", str(seconds), "--runs", str(runs)]
    processes = [subprocess.Popen([sys.executable, "-m", "tests.fuzz", mode, *options]) for mode in MODES]
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
