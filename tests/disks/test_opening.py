"""What a source is taken for, and what is refused before anything is read of its disk."""

import pytest

from manifest_service.disks.formats import detect_format
from manifest_service.disks.limits import Limits
from manifest_service.disks.opening import open_disk
from manifest_service.disks.runs import Stored
from manifest_service.errors import ImageRefused, RefusalCode
from tests.disks.catalogue.case import PLAIN
from tests.disks.sources import BytesSource, sha256, verdict

HEADS = {
    "qcow2": PLAIN.write(),
    "qcow": b"QFI\xfb\0\0\0\x01" + bytes(100),
    "vmdk": b"KDMV" + bytes(600),
    "vdi": b"<<< some tool's VM Disk Image >>>".ljust(64, b"\0") + b"\x7f\x10\xda\xbe",
    "vhd": b"conectix" + bytes(504),
    "vhdx": b"vhdxfile" + bytes(600),
    "qed": b"QED\0" + bytes(60),
    "luks": b"LUKS\xba\xbe\0\x01" + bytes(600),
    "iso": bytes(0x8001) + b"CD001",
    "ploop": b"WithouFreSpacExt" + bytes(48),
}


@pytest.mark.parametrize("name", HEADS)
def test_formats_are_told_by_their_magic(name: str) -> None:
    assert detect_format(BytesSource(HEADS[name])) == name


@pytest.mark.parametrize("head", [b"", b"QFI", bytes(510) + b"\x55\xaa", b"# Disk", bytes(1 << 16)])
def test_all_else_is_raw(head: bytes) -> None:
    assert detect_format(BytesSource(head)) == "raw"


@pytest.mark.parametrize("name", HEADS)
def test_raw_that_holds_another_format_is_refused(name: str) -> None:
    assert verdict(BytesSource(HEADS[name]), disk_format="raw") == RefusalCode.FORMAT_MISMATCH


@pytest.mark.parametrize("disk_format", ["iso", "ami", "aki", "ari"])
def test_what_nova_copies_is_the_file_whatever_glance_calls_it(disk_format: str) -> None:
    content = HEADS["iso"] + b"and more"
    assert verdict(BytesSource(content), disk_format=disk_format) == sha256(content)


@pytest.mark.parametrize("disk_format", ["iso", "ami", "aki", "ari"])
@pytest.mark.parametrize("name", sorted(HEADS.keys() - {"iso"}))
def test_what_is_copied_must_not_be_an_image_of_another_format(disk_format: str, name: str) -> None:
    assert verdict(BytesSource(HEADS[name]), disk_format=disk_format) == RefusalCode.FORMAT_MISMATCH


def test_a_boot_image_of_amazon_s_kind_is_any_file() -> None:
    assert verdict(BytesSource(b"vmlinuz"), disk_format="aki") == sha256(b"vmlinuz")
    assert verdict(BytesSource(b"no ISO"), disk_format="iso") == RefusalCode.FORMAT_MISMATCH


@pytest.mark.parametrize("content", [b"", b"nothing known", *(HEADS[name] for name in HEADS if name != "qcow2")])
def test_qcow2_that_is_something_else_is_refused(content: bytes) -> None:
    assert verdict(BytesSource(content)) == RefusalCode.FORMAT_MISMATCH


@pytest.mark.parametrize("disk_format", ["ploop", "luks", "", "QCOW2", "\x1b[31m"])
def test_other_formats_are_refused(disk_format: str) -> None:
    with pytest.raises(ImageRefused) as caught:
        open_disk(BytesSource(b""), disk_format)
    assert caught.value.code == RefusalCode.UNSUPPORTED_FORMAT
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("length", [0, 1, 511, 513, 3_000_001])
def test_raw_disk_is_the_file_to_the_byte(length: int) -> None:
    content = b"x" * length
    source = BytesSource(content)
    disk = open_disk(source, "raw")
    assert disk.virtual_size == length
    assert list(disk.runs()) == [Stored(0, length)][: bool(length)]
    assert verdict(source, disk_format="raw") == sha256(content)


def test_the_limit_holds_for_both_formats() -> None:
    limits = Limits(virtual_size=PLAIN.size)
    larger = BytesSource(PLAIN.with_fields(size=PLAIN.size + 512).write())
    raw = BytesSource(bytes(PLAIN.size + 1))
    assert len(verdict(BytesSource(PLAIN.write()), limits)) == 64
    assert verdict(larger, limits) == RefusalCode.VIRTUAL_SIZE_LIMIT
    assert verdict(raw, limits, "raw") == RefusalCode.VIRTUAL_SIZE_LIMIT
