"""Whether a question takes longer the more manifests there are: asked over HTTP, on PostgreSQL, at growing numbers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from random import Random

from manifest_service.manifests.tampering import KEPT_STATEMENTS
from tests.bench.api_data import fill
from tests.bench.api_questions import MANY, OF_MANY_KEYS, OF_ONE_KEY, PAGE, QUESTIONS, Question, Request
from tests.bench.api_servers import new_database, postgresql, psycopg_url
from tests.bench.report import how_measured
from tests.servers.service import ApiProcess

TITLE = "The API among 1,000, 100,000 and 1,000,000 manifests"
SIZES = (1_000, 100_000, 1_000_000)
_WARMING = 0.1
"""Of its runs, how many come before those that count: connections are open and statements prepared by then."""

_STEADY = 4.0
"""A list that takes this many times as long grows with the number; below it is what pages and statements cost."""


@dataclass(frozen=True)
class Answered:
    """How long a question took, in seconds."""

    median: float
    p99: float


Figures = Mapping[Question, Sequence[Answered]]
"""One for each number of manifests."""


def measure_lookups(sizes: Sequence[int] = SIZES, questions: Sequence[Question] = QUESTIONS) -> str:
    """Fill a database in steps, ask at each, and give the section of the page."""
    figures: dict[Question, list[Answered]] = {question: [] for question in questions}
    with postgresql() as server:
        url = new_database(server)
        filled = 0
        for size in sizes:
            fill(psycopg_url(url), filled + 1, size, server.folder.parent / "signing.pem")
            filled = size
            with ApiProcess(server.folder.parent / f"api-{size}", {"database": {"connection": url}}) as api:
                for question in questions:
                    figures[question].append(_ask(api.port, question, size))
    return _table(sizes, figures)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is not above."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def _ask(port: int, question: Question, size: int) -> Answered:
    chance = Random(size)
    requests = [question.ask(chance, size) for _ in range(question.runs + int(question.runs * _WARMING))]
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = [_seconds(connection, request) for request in requests][-question.runs :]
    connection.close()
    return Answered(statistics.median(seconds), percentile(seconds, 0.99))


def _seconds(connection: HTTPConnection, request: Request) -> float:
    headers = {} if request.body is None else {"Content-Type": "application/json"}
    start = time.perf_counter()
    connection.request("GET" if request.body is None else "POST", request.path, request.body, headers)
    with connection.getresponse() as response:
        answer = response.read()
    seconds = time.perf_counter() - start
    if response.status not in (200, 202):
        raise SystemExit(f"{request.path} is answered with {response.status}: {answer[:300]!r}")
    if request.body is not None and any(json.loads(answer)["unknown"].values()):
        raise SystemExit(f"{request.path} does not find all that is there")
    return seconds


def _table(sizes: Sequence[int], figures: Figures) -> str:
    lines = [
        f"## {TITLE}",
        "",
        f"Milliseconds over HTTP to `manifest-service api` and back, with other keys each time, one after the other:"
        f" median / 99th percentile. PostgreSQL is filled in steps and analysed; pages have {PAGE} manifests, a later"
        f" page begins anywhere. {how_measured(max(question.runs for question in figures))}",
        "",
        f"| question | {' | '.join(f'{size:,}' for size in sizes)} | growth of the median |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for question, answered in figures.items():
        cells = " | ".join(f"{each.median * 1000:.2f} / {each.p99 * 1000:.2f}" for each in answered)
        lines.append(f"| {question.title} | {cells} | {answered[-1].median / answered[0].median:.2f} |")
    return "\n".join([*lines, "", *_growth(sizes, figures), ""])


def _growth(sizes: Sequence[int], figures: Figures) -> Iterator[str]:
    growth = {question: each[-1].median / each[0].median for question, each in figures.items()}
    if of_one := [growth[question] for question in OF_ONE_KEY if question in growth]:
        yield (
            f"- By one image id, digest or cache name: {max(of_one):.2f} times as long at most among {sizes[-1]:,} as"
            f" among {sizes[0]:,} (target: 1)."
        )
    if of_many := [figures[question] for question in OF_MANY_KEYS if question in figures]:
        last = max(each[-1].median / each[-2].median for each in of_many)
        yield (
            f"- By {MANY:,} of them: {last:.2f} times as long at most among {sizes[-1]:,} as among {sizes[-2]:,}. A"
            f" process remembers the {KEPT_STATEMENTS:,} statements that it verified last, so that among few manifests"
            " none has to be verified again, which takes about 0.2 ms each; that shows in the lists too."
        )
    if lists := {each: growth[each] for each in growth if each not in (*OF_ONE_KEY, *OF_MANY_KEYS)}:
        steady = max((value for value in lists.values() if value < _STEADY), default=0.0)
        growing = [
            f"{question.title.removeprefix('list: ')}: {value:.0f}"
            for question, value in lists.items()
            if value >= _STEADY
        ]
        yield f"- Lists: {steady:.2f} times as long at most" + (f", except {'; '.join(growing)}." if growing else ".")
