"""What a run counted, as a section of docs/reliability.md: figures there come from here alone."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measuring import cores
from tests.faults.run import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
DATABASES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_MIB = 1 << 20


def write(outcome: Outcome) -> None:
    """Put a run's section into its place on the page; all else stays."""
    put(PAGE, section_of(outcome))


def put(page: Path, section: str) -> None:
    """Have a section take the place of the one with its heading, or stand at the end of the page."""
    heading = re.escape(section.splitlines()[0])
    place = re.compile(rf"^{heading}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = page.read_text()
    text = place.sub(lambda _: section, text) if place.search(text) else f"{text.rstrip()}\n\n{section}"
    page.write_text(text.rstrip() + "\n")


def section_of(outcome: Outcome) -> str:
    """All that a run counted."""
    plan, lines = outcome.plan, []
    lines += [
        f"## Counted with {DATABASES[plan.database]}",
        "",
        f"Written by `make faults`; nobody edits figures here. {datetime.now(UTC):%Y-%m-%d}, {cores()} cores, seed"
        f" `{plan.seed}`.",
        "",
        *summary(outcome),
        "",
        *_table(("fault", "times"), _faults(outcome)),
        "",
        *_table(("what came of them", "count"), _effects(outcome)),
        "",
        *_table(("images", "ended as", "count"), _ends(outcome)),
        "",
        *_table(("never killed", "memory early, MiB", "late", "files early", "late", "threads early", "late"),
                _trends(outcome)),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def summary(outcome: Outcome) -> Iterator[str]:
    """The run in a few sentences."""
    right = len(outcome.uploaded)
    yield (
        f"{right} images were uploaded in {outcome.seconds:.0f} s while {len(outcome.told)} faults were injected; the"
        f" last one came to its end {outcome.settling:.0f} s after the last fault."
    )
    if outcome.wrong:
        yield f"**{len(outcome.wrong)} things were wrong:**"
        yield from (f"- {sentence}" for sentence in outcome.wrong)
    else:
        yield (
            f"All {right} ended in the right state with the right digest: none twice, none lost, nothing left in queue,"
            " broker or scratch, no wrong answer of an API."
        )


def _faults(outcome: Outcome) -> Iterator[Sequence[object]]:
    injected = Counter(name for _, name in outcome.told)
    for name in sorted(injected):
        yield name, outcome.tally.get(name, 0)


def _effects(outcome: Outcome) -> Iterator[Sequence[object]]:
    events, verdict = outcome.verdict.events, outcome.verdict
    injected = {name for _, name in outcome.told}
    yield from ((name, count) for name, count in sorted(outcome.tally.items()) if name not in injected)
    yield "starts of processes", sum(outcome.starts.values())
    yield "computations begun", events.get("computation-started", 0)
    yield "… tried again after a failure (`computation-retried`)", events.get("computation-retried", 0)
    yield "… given back by a worker that was stopped (`computation-returned`)", events.get("computation-returned", 0)
    yield "… lost with their worker, their lease, their image or a commit's answer", verdict.lost_attempts
    yield "… that came to an end", sum(events.get(kind, 0) for kind in ("ready", "refused", "failed"))
    for answer, count in sorted(outcome.answers.items()):
        yield f"API asked all the while: {answer}", count


def _ends(outcome: Outcome) -> Iterator[Sequence[object]]:
    for (kind, end), count in sorted(outcome.verdict.ended.items()):
        yield kind, f"`{end}`", count


def _trends(outcome: Outcome) -> Iterator[Sequence[object]]:
    for name, trend in sorted(outcome.trends.items()):
        early, late = trend.early, trend.late
        yield (
            name.rstrip("-0123456789"),
            early.memory // _MIB, late.memory // _MIB,
            early.files, late.files,
            early.threads, late.threads,
        )  # fmt: skip


def _table(heads: Sequence[str], rows: Iterator[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
