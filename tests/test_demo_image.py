"""The image that the package ships for `manifest-service demo`, made by tools/make-demo-image."""

import json
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_is_the_image_of_the_question(qemu_img: Path, tmp_path: Path) -> None:
    """Small to ship, with a disk as large as the one in the question that this project comes from."""
    with as_file(files("manifest_service.commands") / "demo.qcow2") as image:
        assert image.stat().st_size < 1 << 20
        asked = subprocess.run([qemu_img, "info", "--output=json", image], check=True, stdout=subprocess.PIPE)
        subprocess.run([qemu_img, "convert", "-O", "raw", image, tmp_path / "disk.raw"], check=True)

    info = json.loads(asked.stdout)
    assert (info["format"], info["virtual-size"]) == ("qcow2", 2_147_483_648)
    with (tmp_path / "disk.raw").open("rb") as disk:
        disk.seek(1024 + 56)  # the superblock's magic number, which makes it ext4
        assert disk.read(2) == b"\x53\xef"
