"""Random valid images, one a seed: our digest must be qemu-img's."""

import sys
import time
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import qemu
from tests.disks.random_images import make_image
from tests.disks.sources import digest_beside_source_digests

_TELL_EVERY = 100


def run(first_seed: int, seconds: int, runs: int) -> int:
    """Try seed after seed; 1 at the first wrong digest. seconds, runs: 0 and -1 for no end."""
    deadline = time.monotonic() + seconds if seconds else float("inf")
    for done in count():
        if done == runs or time.monotonic() > deadline:
            print(f"{done} images: all digests are qemu-img's", flush=True)
            return 0
        seed = first_seed + done
        if not _is_right(seed):
            print(f"WRONG DIGEST: seed {seed}; again: python -m tests.fuzz images --seed {seed} --runs 1", flush=True)
            return 1
        if done % _TELL_EVERY == _TELL_EVERY - 1:
            print(f"{done + 1} images, the last of seed {seed}", flush=True)
    raise AssertionError("unreachable")


def _is_right(seed: int) -> bool:
    with TemporaryDirectory(prefix="manifest-service-fuzz-") as folder:
        image = make_image(seed, Path(folder))
        digest, _ = digest_beside_source_digests(image)
        return digest == qemu.sha256_of_disk(image)


if __name__ == "__main__":
    sys.exit(run(*map(int, sys.argv[1:])))
