"""A `_base` folder that the real code of Nova has made: all of it matches; then what can happen to it, happens."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from manifest_service.node.base_directory import cache_name_of
from tests import qemu
from tests.node.conftest import Node
from tests.node.images import MIB, SIZE, make_disk, make_image
from tests.servers.nova import Image, NovaNode
from tests.servers.service import EXECUTABLE


def _scan(node: Node, folder: Path) -> tuple[int, dict[str, str]]:
    """The exit code, and file name → verdict."""
    command: list[str | Path] = [EXECUTABLE, "scan", "--json", "--url", node.api.url, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {Path(each["file"]).name: each["verdict"] for each in found}


def _make_images(folder: Path) -> dict[str, tuple[Path, str]]:
    vmdk = folder / "image.vmdk"
    qemu.img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", make_disk(folder / "disk", seed=5), vmdk)
    return {
        "compressed": (make_image(folder, 1, compressed=True), "qcow2"),
        "plain": (make_image(folder, 2, compressed=False), "qcow2"),
        "raw": (make_disk(folder / "image.raw", seed=3), "raw"),
        "vmdk": (vmdk, "vmdk"),
    }


def test_what_nova_makes_matches_and_what_happens_to_it_is_found(
    node: Node, nova_node: NovaNode, tmp_path: Path
) -> None:
    images = _make_images(tmp_path)
    ids = {name: node.publish(path, disk_format) for name, (path, disk_format) in images.items()}
    files = dict(
        zip(images, nova_node.fetch_all(Image(ids[name], *images[name]) for name in images), strict=True)
    )  # fmt: skip

    assert [file.name for file in files.values()] == [cache_name_of(image_id) for image_id in ids.values()]
    assert _scan(node, nova_node.base_folder) == (0, {file.name: "match" for file in files.values()})

    grown = nova_node.grow(files["plain"], 1)
    with files["compressed"].open("r+b") as file:
        file.seek(3 * MIB)
        byte = file.read(1)
        file.seek(3 * MIB)
        file.write(bytes([byte[0] ^ 1]))
    os.truncate(files["raw"], SIZE - MIB)
    shutil.copyfile(files["plain"], files["vmdk"])
    being_written = nova_node.base_folder / f"{'0' * 40}.part"
    being_written.write_bytes(images["plain"][0].read_bytes()[:MIB])

    assert _scan(node, nova_node.base_folder) == (
        4,
        {
            files["compressed"].name: "corrupt",
            files["plain"].name: "match",
            grown.name: "match-extended",
            files["raw"].name: "corrupt",
            files["vmdk"].name: "corrupt",
            being_written.name: "not-applicable",
        },
    )


def test_an_image_that_nova_was_told_not_to_convert(node: Node, nova_node: NovaNode, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    file = nova_node.fetch(node.publish(image), image, "qcow2", force_raw_images=False)

    assert _scan(node, nova_node.base_folder) == (0, {file.name: "match-unconverted"})


def test_a_copy_whose_file_system_nova_grew(node: Node, nova_node: NovaNode, tmp_path: Path) -> None:
    disk = tmp_path / "ext4.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    image = tmp_path / "ext4.qcow2"
    qemu.convert(disk, image)
    base = nova_node.fetch(node.publish(image), image, "qcow2")
    grown = nova_node.grow(base, 1)

    assert _scan(node, nova_node.base_folder) == (5, {base.name: "match", grown.name: "resized"})
