"""`python -m tests.bench`: measure, and write docs/performance.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from tests.bench import report
from tests.bench.images import IMAGES, BenchImage, cache_folder, make_image
from tests.bench.inflating import Stretch, inflate_alone
from tests.bench.measuring import Median, Run, measure
from tests.bench.peers import BLKSUM, FLAT_PEERS, HASH_ALONE, OURS, SEVERAL, SHA512, SPARSE_PEERS, Peer, is_installed
from tests.bench.report import Measured

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def main(arguments: Sequence[str]) -> int:
    """Measure the images that were asked for; with all of them, write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure against our peers.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(image.name for image in IMAGES)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command, in turn with the others")
    parser.add_argument("--quick", action="store_true", help="only ourselves and the hash alone")
    given = parser.parse_args(arguments)
    chosen = [image for image in IMAGES if not given.images or image.name in given.images]
    measured = []
    for image in chosen:
        measured.append(_measure_image(image, given.rounds, quick=given.quick))
        print(report.table_of(measured[-1]), flush=True)
    if not given.images and not given.quick:
        PAGE.write_text(report.page(measured, given.rounds))
        print(f"written: {PAGE}")
    return 0


def _measure_image(image: BenchImage, rounds: int, *, quick: bool) -> Measured:
    path = make_image(image)
    with FileSource.open(path) as source:
        size = open_disk(source, "qcow2").virtual_size
    peers = [peer for peer in _peers_of(image) if is_installed(peer) and (not quick or peer in {OURS, HASH_ALONE})]
    runs: dict[Peer, list[Run]] = {peer: [] for peer in peers}
    with TemporaryDirectory(dir=cache_folder()) as folder:
        scratch = Path(folder) / "scratch"
        for _ in range(rounds):
            for peer in peers:
                scratch.unlink(missing_ok=True)
                measure(f"cat {path} >/dev/null")  # into the page cache, warm: disks are not what is measured
                runs[peer].append(measure(peer.command.format(image=path, scratch=scratch, size=size)))
    _require_equal_digests(image, runs)
    inflating: list[Stretch] = inflate_alone(path) if "-c" in image.options else []
    return Measured(image, size, path.stat().st_size, {peer: Median.of(each) for peer, each in runs.items()}, inflating)


def _peers_of(image: BenchImage) -> Sequence[Peer]:
    if image.name == "sparse":
        return (*SPARSE_PEERS, BLKSUM)
    if image.name == "dense":
        return (*FLAT_PEERS, SHA512, SEVERAL, *SPARSE_PEERS, BLKSUM)
    if image.disk == "full":
        return (OURS, HASH_ALONE)
    return FLAT_PEERS


def _require_equal_digests(image: BenchImage, runs: dict[Peer, list[Run]]) -> None:
    found = {run.output for peer, each in runs.items() if peer.comparable for run in each}
    if len(found) > 1:
        raise SystemExit(f"{image.name}: the ways give different digests: {found}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
