"""What `/healthcheck` answers: whether this API can answer, and what is wrong with the service behind it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.answers import Answer
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.processing import overview
from manifest_service.processing.diagnosis import Check, Expectations, Problem, Severity, diagnose

OK = "ok"
UNHEALTHY = "unhealthy"


class HealthQuery(BaseModel):
    """What is asked."""

    model_config = ConfigDict(extra="forbid")

    live: bool = Field(False, description="Ask only whether the process answers: the database is left alone.")


class ProblemSummary(Answer):
    """Something that is wrong with the service."""

    check: str
    code: str = Field(description="Stable: scripts may hold on to it.")
    severity: str = Field(description="`problem` where somebody should act, `notice` where it is only good to know.")
    told: str
    next_step: str


class HealthDocument(Answer):
    """Whether the service can answer. oldest_entry_age: seconds, null for an empty queue."""

    status: str = Field(
        description="`ok` where this process can answer, whatever is wrong elsewhere, else `unhealthy`."
    )
    database: str
    queue_length: int | None
    oldest_entry_age: float | None
    checks: dict[str, str] = Field(default_factory=dict, description="Each check → `ok`, `notice` or `problem`.")
    problems: list[ProblemSummary] = Field(default_factory=list)


def check_liveness() -> HealthDocument:
    """The process answers; nothing was looked at."""
    return HealthDocument(status=OK, database="not-asked", queue_length=None, oldest_entry_age=None)


def check_health(database: Database, expected: Expectations) -> HealthDocument:
    """Ask the database for its schema and for how the service stands. Only what keeps us from answering is a 503."""
    try:
        schema_found, schema_needed = schema.current_version(database), schema.newest_version()
        if not schema.fits(schema_found, schema_needed):
            told = f"the database's schema is at {schema_found or 'nothing'}, this version needs {schema_needed}"
            return _unhealthy("schema-not-current", "schema-not-current", told, "Run `manifest-service db upgrade`.")
        seen = database.transaction(overview.read)
    except Exception as error:
        # Whatever keeps the database from answering is what this call is asked for.
        name = "away" if isinstance(error, DatabaseAway) else type(error).__name__
        told = f"the database does not answer ({name})"
        return _unhealthy(name, "database-away", told, "Start it, or look at the API's log for why it does not.")
    problems = diagnose(seen, expected)
    return HealthDocument(
        status=OK,
        database=OK,
        queue_length=seen.queue.length,
        oldest_entry_age=seen.queue.oldest_age,
        checks={check: _worst(problems, check) for check in Check},
        problems=[_summary(problem) for problem in problems],
    )


def _unhealthy(name: str, code: str, told: str, next_step: str) -> HealthDocument:
    problem = Problem(Check.DATABASE, code, told, next_step)
    return HealthDocument(
        status=UNHEALTHY,
        database=name,
        queue_length=None,
        oldest_entry_age=None,
        checks={Check.DATABASE: problem.severity},
        problems=[_summary(problem)],
    )


def _summary(problem: Problem) -> ProblemSummary:
    return ProblemSummary(
        check=problem.check,
        code=problem.code,
        severity=problem.severity,
        told=problem.told,
        next_step=problem.next_step,
    )


def _worst(problems: list[Problem], check: Check) -> str:
    found = [problem.severity for problem in problems if problem.check is check]
    return min(found, key=list(Severity).index) if found else OK
