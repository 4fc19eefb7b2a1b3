"""All that a worker computes of one image as it comes configured, without queue, broker and database.

python -m tests.bench.alone FILE FORMAT
"""

from __future__ import annotations

import sys

from manifest_service import config
from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.limits import Limits
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource


def main(path: str, disk_format: str) -> None:
    """Read a file once, for its disk's digests, the block map and its own MD5."""
    digests = config.load().digests
    with FileSource.open(path) as source, HashedSource(source, ["md5"]) as hashed:
        disk = open_disk(hashed, disk_format, Limits())
        compute(disk, hashed, digests.algorithms, block_map_ranges=digests.block_map_ranges)
        hashed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
