"""What `status` shows: as a JSON document, and as sections of rows for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from manifest_service.commands.printing import printable
from manifest_service.manifests.processes import ProcessRecord
from manifest_service.processing.diagnosis import Problem, Severity
from manifest_service.processing.duties import DutyRecord
from manifest_service.processing.overview import Overview, Queue
from manifest_service.shown import counted, size

_COLOURS = {Severity.PROBLEM: "bold red", Severity.NOTICE: "yellow"}


@dataclass(frozen=True)
class Report:
    """seen: None where the database cannot be asked."""

    seen: Overview | None
    problems: Sequence[Problem]

    @property
    def is_healthy(self) -> bool:
        """Whether there is nothing to do."""
        return not any(problem.severity is Severity.PROBLEM for problem in self.problems)


@dataclass(frozen=True)
class Section:
    """A table for people. colours: of each row, where it has one. next_steps: what to do about each row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    colours: Sequence[str] = ()
    next_steps: Sequence[str] = ()


def as_json(report: Report) -> dict[str, Any]:
    """The document that docs/status.schema.json describes. Times in UTC, ages in seconds, sizes in bytes."""
    document: dict[str, Any] = {
        "healthy": report.is_healthy,
        "problems": [asdict(problem) for problem in report.problems],
    }
    if report.seen is not None:
        seen = asdict(report.seen)
        seen["queue"]["length"] = report.seen.queue.length
        for duty in seen["duties"]:
            del duty["state"]  # What the next run goes on from is nobody else's business.
        document |= seen
    plain: dict[str, Any] = _plain(document)
    return plain


def as_sections(report: Report) -> Iterator[Section]:
    """The sections that have anything to say; what is wrong comes last, where the eye is."""
    if report.seen is not None:
        yield from _facts(report.seen)
    problems = report.problems
    yield Section(
        "healthy" if report.is_healthy else "what is wrong",
        ("", "code", "what"),
        [(problem.severity, problem.code, printable(problem.told)) for problem in problems],
        [_COLOURS[problem.severity] for problem in problems],
        [problem.next_step for problem in problems],
    )


def _facts(seen: Overview) -> Iterator[Section]:
    yield Section("queue", ("state", "images"), list(_queue(seen.queue)))
    yield Section(
        "under way",
        ("worker", "image", "done", "attempt", "for"),
        [
            (
                printable(each.worker),
                _image(each.image_id, each.name),
                f"{each.done * 100 // each.total} % of {size(each.total)}" if each.total else "opening",
                str(each.attempt),
                _age((seen.at - each.since).total_seconds()),
            )
            for each in seen.under_way
        ],
    )
    yield Section(
        "processes",
        ("process", "command", "version", "up for", "how it is"),
        [_process(each, seen.at) for each in seen.processes],
        ["" if each.lives else "yellow" for each in seen.processes],
    )
    yield Section(
        "duties",
        ("duty", "leader", "last run", "outcome"),
        [_duty(each, seen.at) for each in seen.duties],
        ["yellow" if each.failed_runs else "" for each in seen.duties],
    )
    yield Section(
        "images that are refused or failed",
        ("status", "code", "images", "last"),
        [(each.status, each.code, str(each.images), _ago(each.last, seen.at)) for each in seen.failures],
    )
    yield Section(
        "failed within the last day",
        ("image", "code", "when"),
        [(each.image_id or "-", each.code, _ago(each.at, seen.at)) for each in seen.last_failures],
    )
    findings = [(each.kind, str(each.total), str(each.recent), _ago(each.last, seen.at)) for each in seen.findings]
    files = [(f"{verdict} files on nodes", str(count), "", "") for verdict, count in seen.node_files.items()]
    yield Section("findings", ("kind", "ever", "last day", "last"), [*findings, *files])


def _queue(queue: Queue) -> Iterator[tuple[str, str]]:
    yield "waiting", str(queue.due)
    yield "put off after a failed attempt", str(queue.delayed)
    yield "being computed", str(queue.computing)
    oldest = queue.oldest_waiting
    if oldest is not None:
        why = f", attempt {oldest.attempts} failed: {oldest.code}" if oldest.code else ""
        yield "oldest that waits", f"{_image(oldest.image_id, oldest.name)}, for {_age(oldest.age)}{why}"


def _process(process: ProcessRecord, now: datetime) -> tuple[str, ...]:
    up = "-" if process.started_at is None else _age((now - process.started_at).total_seconds())
    told = "; ".join(f"{name} ({_words(part)})" if part else name for name, part in process.parts.items())
    silence = "" if process.lives or process.seen_at is None else f"silent, last seen {_ago(process.seen_at, now)}; "
    return printable(f"{process.host}:{process.pid}"), process.command, process.version, up, silence + printable(told)


def _duty(duty: DutyRecord, now: datetime) -> tuple[str, ...]:
    holder = printable(duty.holder or "-")
    outcome = {name: value for name, value in duty.outcome.items() if value}
    told = _words(outcome) or "nothing to do"
    if duty.failed_runs:
        told = f"failed {counted(duty.failed_runs, 'time')}: {told}"
    return duty.name, f"{holder}, at it now" if duty.is_held else holder, _ago(duty.ended_at, now), printable(told)


def _words(figures: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())


def _short(value: object) -> str:
    """Yes and no for booleans, and the beginning of a key's id, which is 64 digits."""
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _image(image_id: str, name: str | None) -> str:
    return f"{image_id} {printable(name)}" if name else image_id


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else f"{_age((now - at).total_seconds())} ago"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _plain(value: Any) -> Any:
    """Times as JSON has them; all else as it is."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
