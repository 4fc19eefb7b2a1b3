"""qemu-img's word on the hand-made images: what it converts, the project reads the same; what it refuses, so do we."""

from pathlib import Path

import pytest

from tests import qemu
from tests.disks.catalogue import CASES
from tests.disks.catalogue.case import Case
from tests.disks.sources import BytesSource, verdict


@pytest.mark.parametrize("case", [case for case in CASES if case.qemu_converts is not None], ids=lambda case: case.name)
def test_qemu_agrees(case: Case, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.write_bytes(case.image)
    if case.qemu_converts:
        expected = qemu.sha256_of_disk(image)
        assert case.refused or verdict(BytesSource(case.image)) == expected
    else:
        with pytest.raises(qemu.QemuError):
            qemu.sha256_of_disk(image)
