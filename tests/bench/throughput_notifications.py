"""How many notifications one listener makes durable in a second."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from tests.bench.measuring import cpu_seconds
from tests.bench.report import how_measured
from tests.bench.throughput_servers import Site, announce, new_ids, new_site, notifier, wait_until

TITLE = "Notifications through RabbitMQ into PostgreSQL"
MESSAGES = 5000
_TARGET = 500


@dataclass(frozen=True)
class Consumed:
    """One run. rate: a second; CPU: seconds a notification."""

    rate: float
    listener_cpu: float
    database_cpu: float
    broker_cpu: float

    @classmethod
    def median(cls, runs: list[Consumed]) -> Consumed:
        """The medians of several runs, each on its own."""
        names = cls.__dataclass_fields__
        return cls(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})


def measure_notifications(rounds: int, messages: int = MESSAGES) -> str:
    """Have one listener take what waits in its queue, several times, and give the section of the page."""
    with new_site() as site:
        with site.listener():
            pass  # It has made its queue, which stays and keeps what comes.
        runs = [_consume(site, messages) for _ in range(rounds)]
    return _section(Consumed.median(runs), rounds, messages)


def _consume(site: Site, messages: int) -> Consumed:
    expected = site.count_images() + messages
    with notifier(site) as glance:
        announce(glance, new_ids(messages), size=2949120, checksum="d077c61681203ae001b4ebc4ddd38a4e")
    listener = site.listener()
    with listener:
        # What it has taken in before we look is not counted: the start of the process is not what is measured.
        start, already = time.perf_counter(), site.count_images()
        before = [cpu_seconds(server.pid) for server in (listener, site.server, site.broker)]
        end = wait_until(lambda: site.count_images() >= expected)
        after = [cpu_seconds(server.pid) for server in (listener, site.server, site.broker)]
    taken = max(1, expected - already)  # Of few, all may have been taken in before.
    return Consumed(taken / (end - start), *((then - now) / taken for then, now in zip(after, before, strict=True)))


def _section(run: Consumed, rounds: int, messages: int) -> str:
    return "\n".join([
        f"## {TITLE}",
        "",
        f"{messages} `image.upload` notifications of as many images wait in the queue of `manifest-service listener`"
        " when it starts: one process, configured as it comes. Each becomes an image, a manifest, a queue entry and a"
        " line of history, and is acknowledged only then. PostgreSQL does not wait for its disk."
        f" {how_measured(rounds)}",
        "",
        "| notifications/s | the listener's CPU ms for each | PostgreSQL's | RabbitMQ's |",
        "|---|---|---|---|",
        f"| {run.rate:.0f} | {1000 * run.listener_cpu:.2f} | {1000 * run.database_cpu:.2f} |"
        f" {1000 * run.broker_cpu:.2f} |",
        "",
        f"- One listener makes {run.rate:.0f} notifications a second durable (target: {_TARGET}).",
        "",
    ])  # fmt: skip
