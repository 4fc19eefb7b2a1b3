"""What sites of several sizes need, reckoned from what was measured: the tables of docs/sizing.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifest_service.digests.bmap import LONGEST_RANGE
from tests.bench.images import GIB

BUSIEST_HOUR = 0.2
"""Of a day's uploads: the share that comes in its busiest hour."""
SCAN_WINDOW = 2 * 3600
"""Seconds over which the timer in etc/systemd spreads the scans of a night."""
MESSAGES = 8
"""Notifications that one upload sends: create, prepare, upload, activate, and the updates between them."""
EVENTS = 4
"""Lines of history of an image: uploaded, computation-started, ready, and the first verdict."""
KEPT_DAYS = 90
"""Days of verifications that the table reckons with. Nothing deletes them by itself."""


@dataclass(frozen=True)
class Figures:
    """What was measured. rows: bytes of a row in PostgreSQL with its indexes, by table; memory: bytes of a process.

    pace: bytes of a disk that one worker computes in a second; notifications: a second, of one listener; request_cpu,
    key_cpu: seconds of one request for a manifest, and of each key in a lookup; map_range: bytes of a range in a block
    map, compressed as it is kept.
    """

    rows: Mapping[str, float]
    memory: Mapping[str, float]
    pace: float
    notifications: float
    request_cpu: float
    key_cpu: float
    map_range: float


@dataclass(frozen=True)
class Site:
    """Who asks. uploads: a day; disk, data: bytes of a mean image; files: in each node's `_base`, scanned nightly."""

    name: str
    nodes: int
    images: int
    uploads: int
    disk: int
    data: int
    files: int


SITES = (
    Site("one machine", 1, 50, 5, 10 * GIB, 2 * GIB, 10),
    Site("a cloud of 100 nodes", 100, 1_000, 50, 20 * GIB, 3 * GIB, 30),
    Site("a region of 1,000 nodes", 1_000, 10_000, 500, 20 * GIB, 3 * GIB, 40),
    Site("a region of 5,000 nodes", 5_000, 50_000, 2_500, 20 * GIB, 3 * GIB, 50),
)


@dataclass(frozen=True)
class Need:
    """What a site needs. Counts of processes are those that the busiest hour keeps busy, rounded up."""

    site: Site
    figures: Figures

    @property
    def seconds_an_image(self) -> float:
        """Of one worker, from its start to the manifest."""
        return self.site.disk / self.figures.pace

    @property
    def workers(self) -> int:
        """Workers that keep up with the busiest hour."""
        return max(1, math.ceil(self.site.uploads * BUSIEST_HOUR * self.seconds_an_image / 3600))

    @property
    def backfill_hours(self) -> float:
        """Hours until these workers have been through all images that were there before."""
        return self.site.images * self.seconds_an_image / self.workers / 3600

    @property
    def notifications_a_second(self) -> float:
        """In the busiest hour."""
        return self.site.uploads * BUSIEST_HOUR * MESSAGES / 3600

    @property
    def listeners(self) -> int:
        """Listeners that keep up with it."""
        return max(1, math.ceil(self.notifications_a_second / self.figures.notifications))

    @property
    def api_cpu(self) -> float:
        """Seconds that the API takes for the scans of a night: a lookup of all names and a report a node."""
        return self.site.nodes * (2 * self.figures.request_cpu + self.site.files * self.figures.key_cpu)

    @property
    def apis(self) -> int:
        """Processes that keep up with it; one of them keeps one core busy."""
        return max(1, math.ceil(self.api_cpu / SCAN_WINDOW))

    @property
    def bytes_an_image(self) -> float:
        """In the database, for as long as the image is known."""
        rows = self.figures.rows
        fixed = rows["images"] + rows["manifests"] + 2 * rows["manifest_digests"] + EVENTS * rows["events"]
        return fixed + rows["manifest_statements"] + rows["manifest_block_maps"] + self.bytes_of_block_map

    @property
    def bytes_of_block_map(self) -> float:
        """Of a mean image's block map, compressed as it is kept."""
        return self.site.data / LONGEST_RANGE * self.figures.map_range

    @property
    def verifications(self) -> int:
        """Rows that come in a day."""
        return self.site.nodes * self.site.files

    @property
    def database(self) -> float:
        """Bytes, after a year of uploads, with the verifications of KEPT_DAYS."""
        images = self.site.images + 365 * self.site.uploads
        return images * self.bytes_an_image + KEPT_DAYS * self.verifications * self.figures.rows["verifications"]

    @property
    def store_bytes_a_day(self) -> int:
        """Read from the stores for what is uploaded."""
        return self.site.uploads * self.site.data

    @property
    def scrub_days(self) -> float:
        """Days in which all sources are read again at the default `[scrub] bytes_per_day`."""
        return self.site.images * self.site.data / (20 * GIB)

    @property
    def memory(self) -> float:
        """Bytes of all processes: one on one machine, elsewhere two of each kind at least."""
        if self.site.nodes == 1:
            return self.figures.memory["serve"] + self.figures.memory["computing"] - self.figures.memory["worker"]
        count = {"listener": self.listeners, "api": self.apis, "computing": self.workers}
        return sum(max(2, number) * self.figures.memory[kind] for kind, number in count.items())


def site_table() -> str:
    """Who is reckoned with."""
    return _table(
        {
            "compute nodes": [f"{site.nodes:,}" for site in SITES],
            "images": [f"{site.images:,}" for site in SITES],
            "uploads a day": [f"{site.uploads:,}" for site in SITES],
            "a mean disk, and the data in it": [
                f"{site.disk / GIB:.0f} GiB, {site.data / GIB:.0f} GiB" for site in SITES
            ],
            "files in each `_base`": [f"{site.files:,}" for site in SITES],
        }
    )


def need_table(figures: Figures) -> str:
    """What they need."""
    needs = [Need(site, figures) for site in SITES]
    return _table(
        {
            "a worker is at a mean image": [f"{need.seconds_an_image:.0f} s" for need in needs],
            "**workers**": [str(need.workers) for need in needs],
            "backfill of all images by these": [f"{need.backfill_hours:.1f} h" for need in needs],
            "notifications in the busiest hour": [f"{need.notifications_a_second:.2f}/s" for need in needs],
            "**listeners**": [str(need.listeners) for need in needs],
            "CPU time of the API for a night's scans": [f"{need.api_cpu:,.1f} s" for need in needs],
            "**API processes**": [str(need.apis) for need in needs],
            "memory of all processes": [f"{need.memory / GIB:.1f} GiB" for need in needs],
            "the database holds for an image": [f"{need.bytes_an_image / 1024:.0f} KiB" for need in needs],
            "of which its block map": [f"{need.bytes_of_block_map / 1024:.0f} KiB" for need in needs],
            "verifications a day": [f"{need.verifications:,}" for need in needs],
            "**the database after a year**": [f"{need.database / GIB:.1f} GiB" for need in needs],
            "read from the stores a day": [f"{need.store_bytes_a_day / GIB:,.0f} GiB" for need in needs],
            "all scrubbed at the default budget in": [f"{need.scrub_days:,.0f} days" for need in needs],
        }
    )


def _table(rows: Mapping[str, Sequence[str]]) -> str:
    head = ["", *(site.name for site in SITES)]
    lines = [head, ["---"] * len(head), *([what, *values] for what, values in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
