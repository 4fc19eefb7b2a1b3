"""The figures as a page: tables of medians and the ratios that matter, all of one run."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from manifest_service.disks.limits import MIB
from tests.bench.images import GIB, BenchImage
from tests.bench.inflating import Stretch, fastest_possible
from tests.bench.measuring import Median, cores
from tests.bench.peers import HASH_ALONE, OURS, SEVERAL, SHA512, Peer

_FLAT_TARGET = 1.15
_COMPRESSED_TARGET = 1.25


@dataclass(frozen=True)
class Measured:
    """What was measured of one image. Sizes in bytes; inflating: its stretches, where it is compressed."""

    image: BenchImage
    rounds: int
    virtual_size: int
    file_size: int
    medians: Mapping[Peer, Median]
    inflating: Sequence[Stretch]


def page(sections: Sequence[str]) -> str:
    """The whole page, from its sections."""
    return "\n".join([
        "# Performance",
        "",
        "Written by `make bench`; nobody edits figures here. The commands of a section ran in turn, several times"
        " each; the tables give medians. Machines are shared and noisy: compare within a table, not across.",
        "",
        "Images lie in the page cache. Memory is that of all processes of a command together, what they share counted"
        " once.",
        "",
        *sections,
    ])  # fmt: skip


def with_section(old: str, section: str, titles: Sequence[str]) -> str:
    """A page with one section new. titles: of all sections, in their order; others are dropped."""
    sections = {_title_of(part): part for part in _sections_of(old)}
    sections[_title_of(section)] = section
    return page([sections[_heading(title)] for title in titles if _heading(title) in sections])


def _sections_of(text: str) -> Sequence[str]:
    starts = [found.start() for found in re.finditer("^## ", text, re.MULTILINE)]
    return [text[start:end].rstrip() + "\n" for start, end in pairwise([*starts, len(text)])]


def _title_of(section: str) -> str:
    return section.splitlines()[0].removeprefix("## ")


def _heading(title: str) -> str:
    return f"{title[0].upper()}{title[1:]}"


def how_measured(rounds: int) -> str:
    """When, on what and how often a section was measured, in a sentence."""
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {rounds} times each: {cores()} cores of {_processor()},"
        f" {_memory_gib()} GiB of memory, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}."
    )


def table_of(measured: Measured) -> str:
    """One image's table, and what it says of our targets."""
    ours = measured.medians.get(OURS)
    lines = [
        f"## {_heading(measured.image.title)}",
        "",
        f"A disk of {measured.virtual_size / GIB:.2f} GiB in a file of {measured.file_size / GIB:.2f} GiB."
        f" {how_measured(measured.rounds)}",
        "",
        "| way | wall s | CPU s | peak MiB |" + (" wall, ours = 1 |" if ours else ""),
        "|---|---|---|---|" + ("---|" if ours else ""),
    ]
    for peer, median in measured.medians.items():
        ratio = f" {median.wall / ours.wall:.2f} |" if ours else ""
        lines.append(f"| {peer.title} | {median.wall:.2f} | {median.cpu:.2f} | {median.memory / MIB:.0f} |{ratio}")
    lines += ["", *_ratios(measured), ""]
    return "\n".join(lines)


def _ratios(measured: Measured) -> Iterator[str]:
    medians = measured.medians
    if OURS not in medians or HASH_ALONE not in medians:
        return
    ours, limit = medians[OURS], medians[HASH_ALONE]
    if not measured.inflating:
        yield f"- Ours takes {ours.wall / limit.wall:.2f} times as long as the hash alone (target: {_FLAT_TARGET})."
    else:
        inflating = sum(stretch.inflating for stretch in measured.inflating)
        best = max(limit.wall, (limit.cpu + inflating) / cores())
        yield (
            f"- Inflating alone takes {inflating:.2f} s of CPU time, so that max(hash, (hash + inflating) / cores) is"
            f" {best:.2f} s. Ours takes {ours.wall / best:.2f} times that (target: {_COMPRESSED_TARGET})."
        )
        possible = fastest_possible(measured.inflating, limit.wall, cores())
        yield (
            f"- With this disk's zeros where they are, {possible:.2f} s is what no program can go below: zeros at the"
            f" end are hashed while there is nothing left to inflate. Ours takes {ours.wall / possible:.2f} times that."
        )
    if SEVERAL in medians and SHA512 in medians:
        several, slowest = medians[SEVERAL], max(medians[SHA512].wall, ours.wall)
        yield f"- Two digests at once take {several.wall / slowest:.2f} times as long as the slower of them alone."


def _processor() -> str:
    """The processor's name, as far as the kernel tells."""
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def _memory_gib() -> int:
    (kib,) = re.findall(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return round(int(kib) / MIB)
