"""How many requests a second the API answers, and how soon, beside glance-api's `GET /v2/images/{id}`."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.api_data import Made, fill
from tests.bench.api_lookups import percentile
from tests.bench.api_servers import THREADS, KeptAliveGlance, UwsgiApi, new_database, postgresql, psycopg_url
from tests.bench.measuring import cpu_seconds
from tests.bench.open_loop import drive
from tests.bench.report import how_measured
from tests.servers.glance_client import GlanceClient
from tests.servers.process import Server
from tests.servers.programs import find
from tests.servers.service import ApiProcess, Settings

TITLE = "The API under load, beside glance-api"
IMAGES = 200
SECONDS = 8
"""Of each run."""
_SCRIPT = Path(__file__).with_name("load.lua")
_RATE_TARGET = 3
_P99_TARGET = 20
# As Glance's tests here and Keystone's middleware would say it: whoever asks may see all.
_GLANCE_HEADERS = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "user-of-the-benchmark",
    "X-Project-Id": "project-of-the-benchmark",
    "X-Roles": "admin,member,reader",
}


@dataclass(frozen=True)
class Way:
    """One way to be asked. paths: of its images."""

    title: str
    server: Server
    paths: Sequence[str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Loaded:
    """One run at full load and one at half of that. Times in seconds; cpu, database_cpu: a request's."""

    rate: float
    p50: float
    p99: float
    cpu: float
    database_cpu: float
    half_p50: float
    half_p99: float

    @classmethod
    def median(cls, runs: Sequence[Loaded]) -> Loaded:
        """The medians of several runs, each on its own."""
        names = cls.__dataclass_fields__
        return cls(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})


def measure_load(rounds: int, seconds: int = SECONDS, images: int = IMAGES) -> str:
    """Start all ways on one PostgreSQL, load them in turn, and give the section of the page."""
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        folder = database.folder.parent
        ways = _start(stack, database.folder.parent, database.create_database(), new_database(database), images)
        runs: dict[str, list[Loaded]] = {way.title: [] for way in ways}
        for way in ways:
            _saturate(way, folder, 2)  # connections are open and statements prepared before it counts
        for _ in range(rounds):
            for way in ways:
                runs[way.title].append(_load(way, folder, database.pid, seconds))
    return _table({title: Loaded.median(each) for title, each in runs.items()}, rounds, seconds, images)


def _start(stack: ExitStack, folder: Path, glance_url: str, url: str, images: int) -> Sequence[Way]:
    glance = stack.enter_context(KeptAliveGlance(folder / "glance", glance_url))
    made = [made for made in map(Made, range(1, 2 * images)) if made.status == "ready"][:images]
    for each in made:
        _create(glance.client, each)
    fill(psycopg_url(url), 1, 2 * images, folder / "signing.pem")
    # uWSGI no longer says where a request is from once a connection is used again: for us, from elsewhere.
    api = {"threads": THREADS, "listen_without_auth": True}
    settings: Settings = {"database": {"connection": url}, "api": api}
    paths = [f"/v1/manifests/{each.image_id}" for each in made]
    return (
        Way("`manifest-service api`", stack.enter_context(ApiProcess(folder / "api", settings)), paths, {}),
        Way("the same under uWSGI", stack.enter_context(UwsgiApi(folder / "uwsgi", settings)), paths, {}),
        Way("glance-api under uWSGI", glance, [f"/v2/images/{each.image_id}" for each in made], _GLANCE_HEADERS),
    )


def _create(glance: GlanceClient, made: Made) -> None:
    glance.create_image(id=made.image_id, name=f"image {made.number}", disk_format="raw", visibility="public")
    glance.upload(made.image_id, bytes(4096))


def _load(way: Way, folder: Path, database: int, seconds: int) -> Loaded:
    before, database_before = cpu_seconds(way.server.pid), cpu_seconds(database)
    full = _saturate(way, folder, seconds)
    cpu, database_cpu = cpu_seconds(way.server.pid) - before, cpu_seconds(database) - database_before
    rate = full["requests"] / full["microseconds"] * 1e6
    half = drive(way.server.port, way.paths, way.headers, rate=rate / 2, seconds=seconds, connections=THREADS)
    return Loaded(
        rate=rate,
        p50=full["p50"] / 1e6,
        p99=full["p99"] / 1e6,
        cpu=cpu / full["requests"],
        database_cpu=database_cpu / full["requests"],
        half_p50=statistics.median(half),
        half_p99=percentile(half, 0.99),
    )


def _saturate(way: Way, folder: Path, seconds: int) -> Mapping[str, float]:
    """As many requests as it answers, over as many connections as it has threads."""
    paths = folder / "paths"
    paths.write_text("".join(f"{path}\n" for path in way.paths))
    headers = [part for name, value in way.headers.items() for part in ("-H", f"{name}: {value}")]
    options = ["--threads=1", f"--connections={THREADS}", f"--duration={seconds}s", "--timeout=30s"]
    url = f"http://127.0.0.1:{way.server.port}"
    command: list[str | Path] = [find("wrk", "wrk"), *options, *headers, f"--script={_SCRIPT}", url, "--", paths]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    if figures["errors"]:
        raise SystemExit(f"{way.title}: {figures['errors']} requests failed\n{ran.stdout}")
    return figures


def _table(medians: Mapping[str, Loaded], rounds: int, seconds: int, images: int) -> str:
    *ours, glance = medians.values()
    lines = [
        f"## {TITLE}",
        "",
        f"`GET /v1/manifests/{{image_id}}` and Glance's `GET /v2/images/{{id}}` of the same {images} images, in random"
        f" order. Each server is one process with {THREADS} threads and a database of its own on one PostgreSQL;"
        f" {THREADS} connections stay open. Full load is wrk, {seconds} s a run. Half load is half of its own full load"
        " at a fixed rate, by a client of ours that counts from the moment when a request is due. Glance has no"
        " Keystone to ask and does not notify; our manifests are checked against their signed statements."
        f" {how_measured(rounds)}",
        "",
        "| way | requests/s | p50 ms | p99 ms | its CPU ms a request | PostgreSQL's | half load: p50 ms | p99 ms |"
        " requests/s, Glance = 1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for title, each in medians.items():
        times = " | ".join(
            f"{1000 * value:.2f}"
            for value in (each.p50, each.p99, each.cpu, each.database_cpu, each.half_p50, each.half_p99)
        )
        lines.append(f"| {title} | {each.rate:.0f} | {times} | {each.rate / glance.rate:.2f} |")
    own, same_server = ours
    return "\n".join([
        *lines,
        "",
        f"- Under the same server it answers {same_server.rate / glance.rate:.2f} times as many requests as Glance"
        f" (target: {_RATE_TARGET}), under its own {own.rate / glance.rate:.2f} times.",
        f"- Its 99th percentile at half load is {1000 * max(each.half_p99 for each in ours):.1f} ms at most (target:"
        f" {_P99_TARGET}).",
        "",
    ])  # fmt: skip
