"""Formats that qemu-img reads for us: its very digests, and nothing hostile ever reaches it."""

import os
import random
import signal
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from manifest_service.digests.engine import compute
from manifest_service.disks.foreign import child
from manifest_service.disks.foreign.inspection import QEMU_DRIVERS
from manifest_service.disks.limits import DEFAULT_LIMITS, MIB, Limits
from manifest_service.disks.opening import open_image
from manifest_service.disks.source import FileSource
from manifest_service.errors import ComputationFailed, FailureCode, ImageRefused, ManifestServiceError, RefusalCode
from tests import qemu
from tests.servers.programs import find
from tests.servers.service import EXECUTABLE
from tests.waiting import eventually

SIZE = 9 * MIB + 512 * 3
SECTOR = 512
CANARY = b"what an image must never show"

VARIANTS = [
    ("vmdk", "subformat=monolithicSparse"),
    ("vmdk", "subformat=streamOptimized"),
    ("vhd", "subformat=dynamic"),
    ("vhd", "subformat=dynamic,force_size=on"),
    ("vhdx", "subformat=dynamic"),
    ("vhdx", "subformat=dynamic,block_size=1M"),
    ("vhdx", "subformat=fixed"),
    ("vdi", "static=off"),
    ("vdi", "static=on"),
    ("qed", "cluster_size=4k"),
    ("qed", "cluster_size=65536"),
]

pytestmark = [pytest.mark.usefixtures("qemu_img"), pytest.mark.slow]


def _nothing() -> None:
    pass


def _digest(image: Path, disk_format: str, limits: Limits = DEFAULT_LIMITS, tick: Callable[[], None] = _nothing) -> str:
    """What we make of the image; the scratch folder must be empty afterwards."""
    scratch = image.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    open_before = len(os.listdir("/proc/self/fd"))
    try:
        with (
            FileSource.open(image) as source,
            open_image(source, disk_format, limits, str(scratch), tick) as opened,
        ):
            return compute(opened.disk, opened.source, ["sha256"]).digests["sha256"]
    finally:
        assert not list(scratch.iterdir())
        # What a test before has left may have been closed meanwhile.
        assert len(os.listdir("/proc/self/fd")) <= open_before


def _code(image: Path, disk_format: str, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(ManifestServiceError) as caught:
        _digest(image, disk_format, limits)
    assert caught.value.reason.isprintable()
    assert caught.value.next_step
    return caught.value.code


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A disk with data, zeros and holes, of a size that few formats have blocks for."""
    chance = random.Random(1)
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        for offset in (0, 70_000, 3 * MIB, 3 * MIB + 65536, SIZE - 1000):
            file.seek(offset)
            file.write(chance.randbytes(min(40_000, SIZE - offset)))
        file.truncate(SIZE)
    return path


def _make(raw: Path, disk_format: str, options: str = "") -> Path:
    image = raw.with_name(f"image.{disk_format}")
    given = ["-o", options] if options else []
    qemu.img("convert", "-f", "raw", "-O", QEMU_DRIVERS[disk_format], *given, raw, image)
    return image


def _write(image: Path, offset: int, data: bytes) -> Path:
    with image.open("r+b") as file:
        file.seek(offset if offset >= 0 else image.stat().st_size + offset)
        file.write(data)
    return image


@pytest.mark.parametrize(("disk_format", "options"), VARIANTS)
def test_digests_are_those_of_qemu_img(raw: Path, disk_format: str, options: str) -> None:
    image = _make(raw, disk_format, options)
    assert _digest(image, disk_format) == qemu.sha256_of_disk(image, QEMU_DRIVERS[disk_format])


@pytest.mark.parametrize("disk_format", sorted(QEMU_DRIVERS))
def test_an_empty_disk(tmp_path: Path, disk_format: str) -> None:
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(MIB)
    image = _make(raw, disk_format)
    assert _digest(image, disk_format) == qemu.sha256_of_disk(image, QEMU_DRIVERS[disk_format])


@pytest.mark.parametrize("disk_format", sorted(QEMU_DRIVERS))
def test_content_of_another_format_is_refused(raw: Path, disk_format: str) -> None:
    assert _code(raw, disk_format) == RefusalCode.FORMAT_MISMATCH


@pytest.mark.parametrize("disk_format", ["vmdk", "vdi", "vhd", "vhdx", "qed"])
def test_a_disk_above_the_limit_is_refused_before_it_is_converted(raw: Path, disk_format: str) -> None:
    limits = replace(DEFAULT_LIMITS, virtual_size=SIZE - 512)
    assert _code(_make(raw, disk_format), disk_format, limits) == RefusalCode.VIRTUAL_SIZE_LIMIT


@pytest.mark.parametrize(("disk_format", "options"), VARIANTS)
@pytest.mark.parametrize("cut", [600, 30_000])
def test_a_file_that_was_cut_gives_no_digest(raw: Path, disk_format: str, options: str, cut: int) -> None:
    """Where what is missing are zeros, as behind the last data of a static image, the digest may be right."""
    image = _make(raw, disk_format, options)
    whole = qemu.sha256_of_disk(image, QEMU_DRIVERS[disk_format])
    os.truncate(image, image.stat().st_size - cut)
    try:
        assert _digest(image, disk_format) == whole
    except ImageRefused as refusal:
        assert refusal.code in {RefusalCode.TRUNCATED, RefusalCode.CORRUPT_DATA}  # noqa: PT017


def _descriptor(text: str) -> bytes:
    return text.encode().ljust(20 * SECTOR, b"\0")


def _vmdk(descriptor: str, capacity: int = 2048, sector: int = 1) -> bytes:
    header = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, capacity, 128, sector, 20, 512, 0, 21, 128)
    return header.ljust(SECTOR, b"\0") + _descriptor(descriptor) + bytes(MIB)


_GOOD = '# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType="monolithicSparse"\nRW 2048 SPARSE "x.vmdk"\n'

HOSTILE_VMDK = {
    "flat extent": (_vmdk(_GOOD.replace("SPARSE", "FLAT")), RefusalCode.DATA_FILE),
    "flat type": (_vmdk(_GOOD.replace("monolithicSparse", "monolithicFlat")), RefusalCode.DATA_FILE),
    "type said twice": (_vmdk(_GOOD + 'createType="monolithicFlat"\n'), RefusalCode.DATA_FILE),
    "no type": (_vmdk(_GOOD.replace("createType", "kind")), RefusalCode.DATA_FILE),
    "no capacity": (_vmdk(_GOOD, capacity=0), RefusalCode.DATA_FILE),
    "two extents": (_vmdk(_GOOD + 'RW 2048 SPARSE "other.vmdk"\n'), RefusalCode.DATA_FILE),
    "a mere descriptor": (_descriptor(_GOOD.replace("SPARSE", "FLAT")), RefusalCode.DATA_FILE),
    "of the first version": (b"COWD" + bytes(MIB), RefusalCode.DATA_FILE),
    "parent's name": (_vmdk(_GOOD + 'parentFileNameHint="canary"\n'), RefusalCode.BACKING_FILE),
    "parent's id": (_vmdk(_GOOD.replace("ffffffff", "12345678")), RefusalCode.BACKING_FILE),
    "descriptor elsewhere": (_vmdk(_GOOD, sector=30), RefusalCode.UNSUPPORTED_FEATURE),
    "huge": (_vmdk(_GOOD, capacity=1 << 62), RefusalCode.CORRUPT_DATA),
    "escape sequences": (_vmdk(_GOOD.replace("monolithicSparse", "\x1b[31m")), RefusalCode.DATA_FILE),
}


@pytest.mark.parametrize("name", HOSTILE_VMDK)
def test_hostile_vmdk(tmp_path: Path, name: str) -> None:
    content, code = HOSTILE_VMDK[name]
    image = tmp_path / "image"
    image.write_bytes(content)
    assert _code(image, "vmdk") == code


def test_the_flat_extent_that_qemu_would_read_is_not_read(tmp_path: Path) -> None:
    """CVE-2022-47951: qemu itself shows the file that the descriptor names."""
    canary = tmp_path / "canary"
    canary.write_bytes(CANARY.ljust(MIB, b"."))
    image = tmp_path / "image"
    text = _GOOD.replace("monolithicSparse", "monolithicFlat").replace('SPARSE "x.vmdk"', f'FLAT "{canary}" 0')
    image.write_bytes(text.encode())
    leaked = tmp_path / "leaked"
    qemu.img("convert", "-f", "vmdk", "-O", "raw", image, leaked)
    assert CANARY in leaked.read_bytes()
    assert _code(image, "vmdk") == RefusalCode.DATA_FILE


def test_a_footer_that_takes_the_header_s_place_is_checked_too(raw: Path) -> None:
    image = _make(raw, "vmdk", "subformat=streamOptimized")
    _write(image, 56, b"\xff" * 8)  # the grain directory is said to be at the end
    assert _code(image, "vmdk") == RefusalCode.TRUNCATED
    footer = image.read_bytes()[:12] + bytes(SECTOR - 12)
    with image.open("ab") as file:
        file.write(bytes(SECTOR) + footer + bytes(SECTOR))
    assert _code(image, "vmdk") == RefusalCode.DATA_FILE


@pytest.mark.parametrize(
    ("disk_format", "offset", "data", "code"),
    [
        ("vhd", 60, b"\0\0\0\x04", RefusalCode.BACKING_FILE),
        ("vhd", 60, b"\0\0\0\x02", RefusalCode.UNSUPPORTED_FEATURE),
        ("vdi", 76, b"\x04\0\0\0", RefusalCode.BACKING_FILE),
        ("vdi", 0x1A8, b"\x01", RefusalCode.BACKING_FILE),
        ("vdi", 0x1B8 + 15, b"\x01", RefusalCode.BACKING_FILE),
        ("qed", 16, b"\x01", RefusalCode.BACKING_FILE),
        ("qed", 16, b"\x00\x01", RefusalCode.UNSUPPORTED_FEATURE),
        ("vhdx", 65536, b"\xff" * 2 * 65536, RefusalCode.CORRUPT_DATA),
    ],
)
def test_headers_that_ask_for_more_than_the_file(
    raw: Path, disk_format: str, offset: int, data: bytes, code: RefusalCode
) -> None:
    assert _code(_write(_make(raw, disk_format), offset, data), disk_format) == code


def test_a_backing_file_of_qed_is_not_read(raw: Path) -> None:
    image = raw.with_name("image.qed")
    qemu.img("create", "-q", "-f", "qed", "-b", raw, "-F", "raw", image)
    assert _code(image, "qed") == RefusalCode.BACKING_FILE


class StoppedError(Exception):
    pass


@pytest.fixture
def slow_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has qemu-img convert a MiB a second."""
    real = find("qemu-img", "qemu-utils")
    script = tmp_path / "bin" / "qemu-img"
    script.parent.mkdir()
    script.write_text(f"""#!/bin/sh
[ "$1" = convert ] || exec {real} "$@"
shift
exec {real} convert -r {MIB} "$@"
""")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)


@pytest.fixture
def endless(raw: Path) -> Path:
    """An image that a slow qemu-img converts for longer than anybody waits here."""
    with raw.open("wb") as file:
        for _ in range(200):
            file.write(random.Random(2).randbytes(MIB))
    return _make(raw, "vdi")


@pytest.mark.usefixtures("slow_qemu_img")
def test_what_is_raised_meanwhile_ends_the_conversion(endless: Path) -> None:

    def tick() -> None:
        if any(b"convert" in command for command in _qemu_children()):
            raise StoppedError

    with pytest.raises(StoppedError):
        _digest(endless, "vdi", tick=tick)
    assert not _qemu_children()


def _qemu_children() -> list[bytes]:
    """The command lines of our child processes that are qemu-img; other tests may have left servers running."""
    children: list[str] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # A thread has ended meanwhile.
            children += path.read_text().split()
    commands = [_command_of(int(child)) for child in children]
    return [command for command in commands if b"qemu-img" in command]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("slow_qemu_img")
def test_qemu_img_ends_with_whoever_started_it(endless: Path, number: signal.Signals) -> None:
    with subprocess.Popen([EXECUTABLE, "digest", endless], stdout=subprocess.DEVNULL) as digest:
        eventually(lambda: _converting(digest.pid))
        (child,) = _converting(digest.pid)
        digest.send_signal(number)
    eventually(lambda: not _command_of(child))


def _converting(pid: int) -> list[int]:
    """The children of a process that convert."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"convert\0-r" in _command_of(int(child))]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # It has ended.
        return b""


@pytest.mark.parametrize("surroundings", ["exec <&-", "ulimit -v 1500000", "ulimit -f 200000", "ulimit -t 100"])
def test_what_a_process_is_born_with_does_not_matter(raw: Path, surroundings: str) -> None:
    """Closed standard input, and limits that are lower than ours."""
    command = f"{surroundings}; exec {EXECUTABLE} digest {_make(raw, 'vdi')}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "limits",
    [
        replace(DEFAULT_LIMITS, scratch_size=MIB),
        replace(DEFAULT_LIMITS, conversion_memory=16 * MIB),
    ],
)
def test_a_conversion_that_takes_too_much_is_ended(tmp_path: Path, limits: Limits) -> None:
    raw = tmp_path / "raw"
    chance = random.Random(3)
    with raw.open("wb") as file:
        for _ in range(400):
            file.write(chance.randbytes(MIB))
    assert _code(_make(raw, "vdi"), "vdi", limits) == FailureCode.CONVERSION_LIMIT


def test_what_a_conversion_wrote_in_the_end_counts_too(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_POLL", 60)  # Nobody looks while it runs.
    limits = replace(DEFAULT_LIMITS, scratch_size=SECTOR)
    assert _code(_make(raw, "vdi"), "vdi", limits) == FailureCode.CONVERSION_LIMIT


def test_without_qemu_img_the_sentence_says_what_to_install(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _make(raw, "vdi")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ComputationFailed) as caught:
        _digest(image, "vdi")
    assert caught.value.code == FailureCode.QEMU_IMG_MISSING
    assert caught.value.retriable
    assert "qemu-utils" in caught.value.next_step


def test_a_qemu_img_that_cannot_be_started_is_no_fault_of_the_image(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _make(raw, "vdi")
    # As in a unit whose filter of system calls stops setpriv.
    refused = tmp_path / "bin" / "setpriv"
    refused.parent.mkdir()
    refused.write_text("#!/bin/sh\necho 'setpriv: activate capabilities: Operation not permitted' >&2\nexit 127\n")
    refused.chmod(0o755)
    monkeypatch.setenv("PATH", str(refused.parent), prepend=os.pathsep)
    with pytest.raises(ComputationFailed) as caught:
        _digest(image, "vdi")
    assert caught.value.code == FailureCode.QEMU_IMG_MISSING
    assert caught.value.retriable
    assert "activate capabilities: Operation not permitted" in str(caught.value)


def test_a_scratch_folder_that_is_not_there_is_told(raw: Path) -> None:
    image = _make(raw, "vdi")
    with FileSource.open(image) as source, pytest.raises(ComputationFailed) as caught:  # noqa: SIM117
        with open_image(source, "vdi", DEFAULT_LIMITS, "/nowhere", _nothing):
            pass
    assert caught.value.code == FailureCode.SCRATCH_FULL


def test_holes_of_a_raw_file_are_not_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"data")
    with FileSource.open(raw) as source, open_image(source, "raw", DEFAULT_LIMITS, "/nowhere", _nothing) as image:
        found = compute(image.disk, image.source, ["fsverity-sha256"], block_map_ranges=10)
    assert found.block_map is not None
    assert [(range_.first, range_.last) for range_ in found.block_map.ranges()] == [((1 << 39) // 4096,) * 2]
