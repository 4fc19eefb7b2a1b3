"""Images that qemu made at random: the project's digest is that of qemu-img's raw file.

Each seed is one image, in the test's name. QCOW2_SEEDS=1000-2000 tries others than the usual few.
"""

import os
import random
from pathlib import Path

import pytest

from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.opening import open_disk
from manifest_service.disks.source import FileSource
from tests import qemu
from tests.disks.random_images import make_image
from tests.disks.sources import sha256

_FIRST, _END = (int(number) for number in os.environ.get("QCOW2_SEEDS", "0-100").split("-"))


@pytest.mark.parametrize("seed", range(_FIRST, _END))
def test_digest_is_that_of_qemus_raw_file(seed: int, tmp_path: Path) -> None:
    image = make_image(random.Random(seed), tmp_path)
    with FileSource.open(image) as file, HashedSource(file, ["md5", "sha256"]) as source:
        found = compute(open_disk(source, "qcow2"), source, ["sha256"])
        source_digests = source.finish()
        file.verify_unchanged()
    assert found.digests["sha256"] == qemu.sha256_of_disk(image)
    assert source_digests["sha256"] == sha256(image.read_bytes())
