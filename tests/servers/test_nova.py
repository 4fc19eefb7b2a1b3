"""What Nova's own code leaves in `_base`: the files that our verdicts are about."""

import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from tests import qemu
from tests.servers import programs
from tests.servers.nova import Image, NovaFailedError, NovaNode, NovaRefusedError

IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk of 4 MiB: data that compresses, a hole, data that does not, a hole."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.write(b"data" * (MIB // 4))
        file.seek(2 * MIB)
        file.write(random.Random(1).randbytes(MIB))
        file.truncate(4 * MIB)
    return path


def converted(raw: Path, name: str, *arguments: str) -> Path:
    path = raw.with_name(name)
    qemu.convert(raw, path, arguments=arguments)
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_base(node: NovaNode) -> set[str]:
    return {path.name for path in node.base_folder.iterdir()}


def test_nova_converts_to_raw(nova_node: NovaNode, disk: Path) -> None:
    images = [
        Image("plain", converted(disk, "plain.qcow2"), "qcow2"),
        Image("compressed", converted(disk, "compressed.qcow2", "-c"), "qcow2"),
        Image("raw", disk, "raw"),
    ]
    assert images[1].path.stat().st_size < images[0].path.stat().st_size

    files = nova_node.fetch_all(images)

    names = [hashlib.sha1(image.image_id.encode()).hexdigest() for image in images]
    assert files == [nova_node.base_folder / name for name in names]
    assert in_base(nova_node) == set(names)
    assert {sha256(file) for file in files} == {sha256(disk)}
    assert {qemu.sha256_of_disk(image.path) for image in images[:2]} == {sha256(disk)}


def test_nova_may_leave_the_source(nova_node: NovaNode, disk: Path) -> None:
    source = converted(disk, "disk.qcow2")

    file = nova_node.fetch(IMAGE_ID, source, "qcow2", force_raw_images=False)

    assert file.name == "ddbb83fcbcb3df5125bbe7c7ad9a5772b876512f"
    assert file.read_bytes() == source.read_bytes()


def test_nova_refuses_a_backing_file(nova_node: NovaNode, disk: Path) -> None:
    overlay = disk.with_name("overlay.qcow2")
    qemu.img("create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", overlay)

    with pytest.raises(NovaRefusedError, match=f"^Image {IMAGE_ID} is unacceptable: Image does not pass safety check"):
        nova_node.fetch(IMAGE_ID, overlay, "qcow2")

    assert in_base(nova_node) == set()


def test_nova_refuses_another_format_than_glance_says(nova_node: NovaNode, disk: Path) -> None:
    with pytest.raises(NovaRefusedError, match=f"Image {IMAGE_ID} expected to be raw but detected as qcow2"):
        nova_node.fetch(IMAGE_ID, converted(disk, "disk.qcow2"), "raw")


def test_a_grown_copy_ends_with_zeros(nova_node: NovaNode, disk: Path) -> None:
    file = nova_node.fetch(IMAGE_ID, disk, "raw")

    grown = nova_node.grow(file, 1)

    assert grown == file.with_name(f"{file.name}_1")
    assert in_base(nova_node) == {file.name, grown.name}
    assert grown.stat().st_size == GIB
    qemu.img("compare", "-f", "raw", "-F", "raw", grown, disk)  # what one has and the other has not must be zeros


def test_a_grown_copy_of_a_bare_file_system_is_changed(nova_node: NovaNode, disk: Path) -> None:
    """With partitions, as nearly every image has them, Nova adds zeros only."""
    mkfs = programs.find("mkfs.ext4", "e2fsprogs")
    subprocess.run([mkfs, "-q", disk], check=True)
    file = nova_node.fetch(IMAGE_ID, disk, "raw")

    grown = nova_node.grow(file, 1)

    with pytest.raises(qemu.QemuError, match="Content mismatch"):
        qemu.img("compare", "-f", "raw", "-F", "raw", grown, disk)


def test_a_grown_copy_of_a_source_keeps_its_format(nova_node: NovaNode, disk: Path) -> None:
    file = nova_node.fetch(IMAGE_ID, converted(disk, "disk.qcow2"), "qcow2", force_raw_images=False)

    grown = nova_node.grow(file, 1)

    qemu.img("compare", "-f", "qcow2", "-F", "raw", grown, disk)


def test_nova_that_breaks_says_why(nova_node: NovaNode, disk: Path) -> None:
    with pytest.raises(NovaFailedError, match="FileNotFoundError"):
        nova_node.fetch(IMAGE_ID, disk.with_name("absent"), "raw")
