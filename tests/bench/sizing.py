"""`python -m tests.bench.sizing`: measure what is still unknown of a site's needs, and write docs/sizing.md.

The paces are those of docs/performance.md. Measured here: what a row takes in PostgreSQL, and a process in memory.
"""

from __future__ import annotations

import random
import re
import sys
import zlib
from array import array
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from manifest_service.digests.bmap import BLOCK, LONGEST_RANGE, BlockMap
from manifest_service.disks.limits import MIB
from tests.bench import api_data, api_load, api_lookups
from tests.bench.api_servers import new_database, postgresql, psycopg_url
from tests.bench.images import GIB
from tests.bench.report import how_measured
from tests.bench.sites import BUSIEST_HOUR, EVENTS, KEPT_DAYS, MESSAGES, SCAN_WINDOW, Figures, need_table, site_table
from tests.bench.throughput_servers import Site, new_site
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import descendants
from tests.servers.service import ApiProcess, ListenerProcess, ServeProcess, ServiceProcess, WorkerProcess

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
TEMPLATE = Path(__file__).with_name("sizing.template.md")
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
IMAGES = 100_000
_BLOCKS = LONGEST_RANGE // BLOCK
_TABLES = (
    "images",
    "manifests",
    "manifest_digests",
    "manifest_block_maps",
    "manifest_statements",
    "events",
    "verifications",
)


def main(images: int = IMAGES) -> None:
    """Measure, and write the page."""
    with postgresql() as server:
        rows = measure_rows(server, images)
    with new_site() as site:
        memory = measure_memory(site)
    PAGE.write_text(page(figures_of(PERFORMANCE.read_text(), rows, memory), images))
    print(PAGE.read_text())


def measure_rows(server: PostgreSQL, images: int) -> Mapping[str, float]:
    """Bytes that a row of each table takes, with its indexes, in a database of so many images."""
    url = psycopg_url(new_database(server))
    with TemporaryDirectory() as folder:
        api_data.fill(url, 1, images, Path(folder) / "key.pem")
    with psycopg.connect(url, autocommit=True) as connection:
        return {table: _bytes_a_row(connection, table) for table in _TABLES}


def _bytes_a_row(connection: psycopg.Connection, table: str) -> float:
    query = f"SELECT pg_total_relation_size('{table}')::float / count(*) FROM {table}"
    row = connection.execute(query).fetchone()
    assert row is not None
    return float(row[0])


def measure_memory(site: Site) -> Mapping[str, float]:
    """Peak memory of each kind of process, idle, with PostgreSQL and RabbitMQ; with the one that looks after it."""
    kinds: dict[str, type[ServiceProcess]] = {
        "listener": ListenerProcess,
        "worker": WorkerProcess,
        "api": ApiProcess,
        "serve": ServeProcess,
    }
    found = {}
    for name, kind in kinds.items():
        with kind(site.folder / name, site.settings()) as process:
            found[name] = sum(map(_peak_of, [process.pid, *descendants(process.pid)]))
    return found


def _peak_of(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024.0


def bytes_of_a_range(ranges: int = 20_000) -> float:
    """What a range of a block map takes in the database: its digest cannot be compressed."""
    chooser = random.Random(1)
    firsts = array("Q", range(0, ranges * _BLOCKS, _BLOCKS))
    lasts = array("Q", range(_BLOCKS - 1, ranges * _BLOCKS, _BLOCKS))
    document = BlockMap(ranges * LONGEST_RANGE, firsts, lasts, chooser.randbytes(32 * ranges)).as_xml()
    return len(zlib.compress(document.encode())) / ranges


def figures_of(performance: str, rows: Mapping[str, float], memory: Mapping[str, float]) -> Figures:
    """With the paces that docs/performance.md has."""
    zlib_image = _section(performance, "Root file system, zlib, clusters of 64 KiB")
    disk = float(_one(r"A disk of ([\d.]+) GiB", zlib_image)) * GIB
    wall, peak = re.findall(
        r"^\| `manifest-service digest` \| ([\d.]+) \| [\d.]+ \| (\d+) \|", zlib_image, re.MULTILINE
    )[0]
    load, lookups = (_section(performance, title) for title in (api_load.TITLE, api_lookups.TITLE))
    thousand = float(_one(r"^\| `POST /v1/lookups`, 1,000 cache names \|.*\| ([\d.]+) / [\d.]+ \| [\d.]+ \|$", lookups))
    return Figures(
        rows=rows,
        memory={**memory, "computing": memory["worker"] + int(peak) * MIB},
        pace=disk / float(wall),
        notifications=float(_one(r"One listener makes (\d+) notifications a second", performance)),
        request_cpu=float(_one(r"^\| `manifest-service api` \|(?: [\d.]+ \|){3} ([\d.]+) \|", load)) / 1000,
        key_cpu=thousand / 1000 / 1000,
        map_range=bytes_of_a_range(),
    )


def _section(text: str, title: str) -> str:
    return _one(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)


def _one(pattern: str, text: str, flags: re.RegexFlag = re.MULTILINE) -> str:
    found = re.search(pattern, text, flags)
    if found is None:
        raise SystemExit(f"docs/performance.md has nothing like {pattern}: run `make bench` first")
    return found[1]


def page(figures: Figures, images: int) -> str:
    """The whole page. images: in the database that rows were measured in."""
    computing = figures.memory["computing"] - figures.memory["worker"]
    return TEMPLATE.read_text().format(
        site_table=site_table(),
        need_table=need_table(figures),
        pace=figures.pace / GIB,
        busiest_hour=BUSIEST_HOUR,
        messages=MESSAGES,
        notifications=figures.notifications,
        request=1000 * figures.request_cpu,
        key=1000 * figures.key_cpu,
        window=SCAN_WINDOW // 3600,
        events=EVENTS,
        map_range=figures.map_range,
        kept_days=KEPT_DAYS,
        images=images,
        measured=how_measured(1).replace("1 times each", "once"),
        rows="\n".join(f"| `{table}` | {size:,.0f} |" for table, size in figures.rows.items()),
        computing=computing / MIB,
        processes="\n".join(
            f"| `{name}` | {size / MIB:.0f} |" for name, size in figures.memory.items() if name != "computing"
        ),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
