"""A compute node checks one `_base` file: ours beside hashing all of it."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from manifest_service.disks.limits import MIB
from tests.bench.images import GIB, cache_folder, make_disk
from tests.bench.measuring import Median, measure
from tests.bench.peers import BLKSUM, EXECUTABLE, Peer, is_installed
from tests.bench.report import how_measured

_IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"

VERIFY = Peer(
    "verify", "`manifest-service verify`", f"{shlex.quote(str(EXECUTABLE))} verify --manifests {{scratch}} {{image}}"
)
SHA256SUM = Peer("sha256sum", "`sha256sum`", "sha256sum {image}")
OPENSSL = Peer("openssl", "`openssl dgst -sha256`", "openssl dgst -r -sha256 {image}")


@dataclass(frozen=True)
class BaseFile:
    """A file to check. target: how many times faster than sha256sum it is to be; hash_rounds: runs of those that hash
    all of it, which may take minutes each.
    """

    disk: str
    title: str
    target: int
    hash_rounds: int


FILES = (
    BaseFile("base", "On a node, a `_base` file of 10 GiB with 1.5 GiB of data", 4, 3),
    BaseFile("sparse", "On a node, a `_base` file of 100 GiB with 200 MiB of data", 50, 1),
)


def measure_file(file: BaseFile, rounds: int) -> str:
    """Measure a file, and give its part of the page."""
    disk = make_disk(file.disk)
    peers = [peer for peer in (VERIFY, SHA256SUM, OPENSSL, BLKSUM) if is_installed(peer)]
    with TemporaryDirectory(dir=cache_folder()) as folder:
        bundle = _write_bundle(disk, Path(folder) / "manifests.jsonl")
        base = Path(folder) / hashlib.sha1(_IMAGE_ID.encode()).hexdigest()
        base.hardlink_to(disk)
        medians = {}
        for peer in peers:
            runs = rounds if peer in {VERIFY, BLKSUM} else file.hash_rounds
            command = peer.command.format(image=base, scratch=bundle)
            measure(VERIFY.command.format(image=base, scratch=bundle))  # into the page cache
            medians[peer] = Median.of([measure(command) for _ in range(runs)])
    return _table(file, rounds, disk.stat().st_size, medians)


def _write_bundle(disk: Path, bundle: Path) -> Path:
    """The manifest of a disk, as the API would give it."""
    command = [str(EXECUTABLE), "digest", "--json", "-a", "fsverity-sha256", "--disk-format", "raw", str(disk)]
    computed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    manifest = {
        "image_id": _IMAGE_ID,
        "cache_name": hashlib.sha1(_IMAGE_ID.encode()).hexdigest(),
        "status": "ready",
        "virtual_size": computed["virtual_size"],
        "digests": computed["digests"],
    }
    bundle.write_text(json.dumps(manifest) + "\n")
    return bundle


def _table(file: BaseFile, rounds: int, size: int, medians: Mapping[Peer, Median]) -> str:
    ours = medians[VERIFY]
    lines = [
        f"## {file.title}",
        "",
        f"A file of {size / GIB:.2f} GiB, its manifest in a file beside it. {how_measured(rounds)}"
        f" Those that hash all of it ran {file.hash_rounds} times.",
        "",
        "| way | wall s | CPU s | peak MiB | wall, ours = 1 |",
        "|---|---|---|---|---|",
        *(
            f"| {peer.title} | {median.wall:.2f} | {median.cpu:.2f} | {median.memory / MIB:.0f} |"
            f" {median.wall / ours.wall:.1f} |"
            for peer, median in medians.items()
        ),
        "",
        f"- Ours is {medians[SHA256SUM].wall / ours.wall:.1f} times as fast as `sha256sum` (target: {file.target}).",
        "",
    ]
    return "\n".join(lines)
