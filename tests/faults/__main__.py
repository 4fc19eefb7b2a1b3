"""`python -m tests.faults`: upload images while faults are injected, judge what became of them, and write the page."""

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Sequence

from tests.faults import report
from tests.faults.run import Outcome, Plan, run

_IN_A_NAMESPACE = "MANIFEST_SERVICE_FAULTS_NAMESPACE"


def main(arguments: Sequence[str]) -> int:
    """Run once with each database that was asked for; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the service under faults.")
    parser.add_argument("--uploads", type=int, default=500, help="upload at least so many images")
    parser.add_argument("--seconds", type=float, default=0.0, help="and for at least so long")
    parser.add_argument("--pace", type=float, default=5.0, help="uploads a second, while nothing stands in the way")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of everything that is drawn")
    parser.add_argument("--database", choices=list(report.DATABASES), action="append", help="repeatable; both if unset")
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md as it is")
    given = parser.parse_args(arguments)
    logging.getLogger("oslo").setLevel(logging.CRITICAL)  # Each broken connection of our notifier's, otherwise.
    is_wrong = False
    for database in given.database or list(report.DATABASES):
        plan = Plan(database, given.seed, given.uploads, given.seconds, given.pace)
        print(f"{report.DATABASES[database]}, seed {given.seed}", flush=True)
        outcome = run(plan, lambda line: print(line, flush=True))
        _show(outcome)
        is_wrong = is_wrong or bool(outcome.wrong)
        if not given.no_page:
            report.write(outcome)
    return int(is_wrong)


def _show(outcome: Outcome) -> None:
    print(report.section_of(outcome))
    if outcome.wrong:
        print("What was injected, at which second:")
        print(*(f"{moment:7.1f} {name}" for moment, name in outcome.told), sep="\n")


if __name__ == "__main__":
    if os.geteuid() == 0 and _IN_A_NAMESPACE not in os.environ:
        # With mounts of its own: what it mounts goes with it, however it ends.
        command = ["unshare", "--mount", sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execvpe(command[0], command, {**os.environ, _IN_A_NAMESPACE: "1"})
    sys.exit(main(sys.argv[1:]))
