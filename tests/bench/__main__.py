"""`python -m tests.bench`: measure, and write what was measured to docs/performance.md."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from tests.bench import (
    api_load,
    api_lookups,
    node,
    report,
    throughput_backlog,
    throughput_latency,
    throughput_notifications,
)
from tests.bench.images import IMAGES, BenchImage, cache_folder, make_image
from tests.bench.inflating import Stretch, inflate_alone
from tests.bench.measuring import Median, Run, measure
from tests.bench.peers import (
    BLKSUM,
    FLAT_PEERS,
    HASH_ALONE,
    OPENSSL,
    OURS,
    SEVERAL,
    SHA512,
    SPARSE_PEERS,
    Peer,
    is_installed,
)
from tests.bench.report import Measured

_SERVICE: Mapping[str, Callable[[int], str]] = {
    "api-lookups": lambda rounds: api_lookups.measure_lookups(),
    "api-load": api_load.measure_load,
    "notifications": throughput_notifications.measure_notifications,
    "latency": throughput_latency.measure_latency,
    "backlog": lambda rounds: throughput_backlog.measure_backlog(),
}
_NAMES = (*(image.name for image in IMAGES), *(f"node-{file.disk}" for file in node.FILES), *_SERVICE)
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def main(arguments: Sequence[str]) -> int:
    """Measure the images that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure against our peers.")
    parser.add_argument("images", nargs="*", metavar="SECTION", help=f"of {', '.join(_NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command, in turn with the others")
    parser.add_argument("--quick", action="store_true", help="only ourselves and the hash alone")
    given = parser.parse_args(arguments)
    for image in IMAGES:
        if not given.images or image.name in given.images:
            _show(report.table_of(_measure_image(image, given.rounds, quick=given.quick)), write=not given.quick)
    for file in node.FILES:
        if (not given.images and not given.quick) or f"node-{file.disk}" in given.images:
            _show(node.measure_file(file, given.rounds), write=not given.quick)
    for name, measure_section in _SERVICE.items():
        if (not given.images and not given.quick) or name in given.images:
            _show(measure_section(given.rounds), write=not given.quick)
    return 0


def _show(section: str, *, write: bool) -> None:
    """Print a section, and put it in its place on the page: what was measured stays if a later one is interrupted."""
    print(section, flush=True)
    if write:
        titles = [*(image.title for image in IMAGES), *(file.title for file in node.FILES)]
        titles += [api_lookups.TITLE, api_load.TITLE]
        titles += [throughput_notifications.TITLE, throughput_latency.TITLE, throughput_backlog.TITLE]
        PAGE.write_text(report.with_section(PAGE.read_text(), section, titles))


def _measure_image(image: BenchImage, rounds: int, *, quick: bool) -> Measured:
    path = make_image(image)
    with FileSource.open(path) as source:
        size = open_disk(source, "qcow2").virtual_size
    peers = [peer for peer in _peers_of(image) if is_installed(peer) and (not quick or peer in {OURS, HASH_ALONE})]
    runs: dict[Peer, list[Run]] = {peer: [] for peer in peers}
    inflating: list[list[Stretch]] = []
    with TemporaryDirectory(dir=cache_folder()) as folder:
        scratch = Path(folder) / "scratch"

        def run(peer: Peer, *, look: bool) -> Run:
            scratch.unlink(missing_ok=True)
            measure(f"cat {path} >/dev/null")  # into the page cache, warm: disks are not what is measured
            return measure(peer.command.format(image=path, scratch=scratch, size=size), look=look)

        memory = {peer: run(peer, look=True).memory for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                runs[peer].append(run(peer, look=False))
            inflating.append(inflate_alone(path) if "-c" in image.options else [])
    _require_equal_digests(image, runs)
    medians = {peer: Median.of(each, memory[peer]) for peer, each in runs.items()}
    return Measured(image, rounds, size, path.stat().st_size, medians, _median_of(inflating))


def _median_of(rounds: Sequence[list[Stretch]]) -> list[Stretch]:
    """The round of which half of the others took longer."""
    return sorted(rounds, key=lambda stretches: sum(stretch.inflating for stretch in stretches))[len(rounds) // 2]


def _peers_of(image: BenchImage) -> Sequence[Peer]:
    if image.name == "sparse":
        return (*SPARSE_PEERS, BLKSUM)
    if image.name == "dense":
        return (*FLAT_PEERS, SHA512, SEVERAL, *SPARSE_PEERS, BLKSUM)
    if image.disk == "full":
        return (OURS, HASH_ALONE)
    if image.name.endswith("-4k"):
        # The others take a minute each, and differ from this one as they do with clusters of 64 KiB.
        return (OURS, HASH_ALONE, OPENSSL)
    return FLAT_PEERS


def _require_equal_digests(image: BenchImage, runs: dict[Peer, list[Run]]) -> None:
    found = {run.output for peer, each in runs.items() if peer.comparable for run in each}
    if len(found) > 1:
        raise SystemExit(f"{image.name}: the ways give different digests: {found}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
