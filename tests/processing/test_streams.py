"""Images in stores that are only read forward: every layout has its digest, and what qemu-img writes is read once."""

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from manifest_service.digests.engine import compute
from manifest_service.digests.source_digests import HashedSource
from manifest_service.disks.limits import DEFAULT_LIMITS, MIB
from manifest_service.disks.opening import open_image
from manifest_service.images.objects.http_object import HttpObject, HttpSettings
from manifest_service.images.streams.forward import Recorded
from manifest_service.images.streams.patience import Patience
from manifest_service.images.streams.spool import SpoolSettings
from manifest_service.images.streams.stream import StreamSettings, StreamSource
from tests import qemu
from tests.disks.random_images import make_image
from tests.disks.sources import digest_beside_source_digests
from tests.images.scripted import ScriptedObject
from tests.servers.web import WebServer

pytestmark = pytest.mark.slow

SIZE = 40 * MIB
WINDOW = 4 * MIB
"""A tenth of the images of these tests, and an eighth of the default."""

SETTINGS = StreamSettings(WINDOW, Patience(silence=20.0, pause=0.0), SpoolSettings(reserve=0))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with data that compresses well, data that does not, and zeros."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    rng = random.Random(4)
    with path.open("wb") as file:
        for place in range(0, SIZE, MIB):
            file.seek(place)
            if kind := rng.randrange(4):
                file.write(rng.randbytes(MIB) if kind > 1 else b"text %d " % place * 60_000)
        file.truncate(SIZE)
    return path


def converted(*arguments: str, options: tuple[str, ...] = ()) -> Callable[[Path, Path], None]:
    return lambda raw, path: qemu.convert(raw, path, options, arguments=arguments)


def changed(change: Callable[[Path], None], *options: str) -> Callable[[Path, Path], None]:
    def make_and_change(raw: Path, path: Path) -> None:
        qemu.convert(raw, path, options)
        change(path)

    return make_and_change


def copied(raw: Path, path: Path) -> None:
    shutil.copy(raw, path)


def committed(raw: Path, path: Path) -> None:
    """An image that was a backing file, until what was written over it was written into it."""
    qemu.convert(raw, path)
    overlay = path.with_suffix(".overlay")
    qemu.img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, overlay)
    qemu.io(overlay, ["write -P 8 3M 1M"])
    qemu.img("commit", "-q", overlay)


def written_backwards(cluster_size: int) -> Callable[[Path, Path], None]:
    def make(raw: Path, path: Path) -> None:
        qemu.create(path, SIZE, [f"cluster_size={cluster_size}"])
        qemu.io(path, [f"write -P {place + 1} {place}M 2M" for place in range(38, -1, -2)])

    return make


def resized(path: Path) -> None:
    """To a size whose L1 table has no room where it was, so that it comes to lie behind the data."""
    qemu.img("resize", "-q", "-f", "qcow2", path, "400M")


def with_snapshot(path: Path) -> None:
    qemu.img("snapshot", "-c", "one", path)


def with_snapshot_and_more(path: Path) -> None:
    with_snapshot(path)
    qemu.io(path, ["write -P 5 1M 9M"])


ONE_PASS = {
    "plain": converted(),
    "compressed": converted("-c"),
    "zstd": converted("-c", options=("compression_type=zstd",)),
    "with zeros written out": converted("-S", "0"),
    "old": converted(options=("compat=0.10",)),
    "small clusters": converted(options=("cluster_size=4k",)),
    "extended tables": converted(options=("extended_l2=on",)),
    "metadata first": converted(options=("preallocation=metadata",)),
    "room first": converted(options=("preallocation=falloc",)),
    "all first": converted(options=("preallocation=full",)),
    "shrunk": changed(lambda path: qemu.img("resize", "-q", "--shrink", "-f", "qcow2", path, "30M")),
    "raw": copied,
}
SPOOLED = {
    "with a snapshot": changed(with_snapshot),
    "written to after a snapshot": changed(with_snapshot_and_more),
    "backwards": written_backwards(64 << 10),
    "backwards in small clusters": written_backwards(4 << 10),
    "tables moved": changed(resized, "cluster_size=512"),
}
ANYHOW = {
    "out of order": converted("-W"),
    "compressed out of order": converted("-c", "-W"),
    "committed": committed,
    "written to again": changed(lambda path: qemu.io(path, ["discard 3M 9M", "write -P 5 1M 6M", "write -P 6 30M 1M"])),
}


def read_once(web: WebServer, disk_format: str, settings: StreamSettings = SETTINGS) -> tuple[str, str, bool]:
    """The SHA-256 of disk and source, as a worker computes them; and whether the source was spooled."""
    recorded = Recorded(len(web.data), has_checksums=True)
    with StreamSource(HttpObject(web.url, HttpSettings()), recorded, settings) as stream:
        with (
            HashedSource(stream, ["sha256"]) as source,
            open_image(source, disk_format, DEFAULT_LIMITS, None, lambda: None) as image,
        ):
            found = compute(image.disk, image.source, ["sha256"])
            digests = source.finish()
        stream.verify_unchanged()
        return found.digests["sha256"], digests["sha256"], stream.is_spooled


def expected(path: Path, disk_format: str) -> tuple[str, str]:
    driver = {"vhd": "vpc"}.get(disk_format, disk_format)
    return qemu.sha256_of_disk(path, driver), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ONE_PASS)
def test_what_qemu_img_writes_is_read_once_and_never_spooled(layout: str, raw: Path, tmp_path: Path) -> None:
    path, disk_format = tmp_path / "image", "raw" if layout == "raw" else "qcow2"
    ONE_PASS[layout](raw, path)

    with WebServer(path.read_bytes()) as web:
        *digests, is_spooled = read_once(web, disk_format)

    assert tuple(digests) == expected(path, disk_format)
    assert (web.sent, is_spooled) == (path.stat().st_size, False)


@pytest.mark.parametrize("layout", SPOOLED)
def test_tables_behind_the_data_are_met_early_and_cost_scratch_space_but_no_second_download(
    layout: str, raw: Path, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    SPOOLED[layout](raw, path)

    with WebServer(path.read_bytes()) as web:
        *digests, is_spooled = read_once(web, "qcow2")

    assert tuple(digests) == expected(path, "qcow2")
    assert (web.sent, is_spooled) == (path.stat().st_size, True)


@pytest.mark.parametrize("layout", ANYHOW)
@pytest.mark.parametrize("window", [MIB, 32 * MIB])
def test_layouts_of_any_order_have_their_digest(layout: str, window: int, raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "image"
    ANYHOW[layout](raw, path)

    with WebServer(path.read_bytes()) as web:
        *digests, _ = read_once(web, "qcow2", replace(SETTINGS, window=window))

    assert tuple(digests) == expected(path, "qcow2")


@pytest.mark.parametrize("layout", ["backwards", "with a snapshot"])
def test_a_server_that_knows_ranges_and_versions_needs_no_scratch_space(layout: str, raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "image"
    {**SPOOLED, **ANYHOW}[layout](raw, path)

    with WebServer(path.read_bytes(), ranges=True, etag=True) as web:
        *digests, is_spooled = read_once(web, "qcow2")

    assert tuple(digests) == expected(path, "qcow2")
    assert not is_spooled


@pytest.mark.parametrize("disk_format", ["vmdk", "vhd", "vhdx", "vdi"])
def test_what_qemu_img_reads_for_us_is_spooled(disk_format: str, raw: Path, tmp_path: Path, qemu_img: Path) -> None:
    path = tmp_path / "image"
    qemu.img("convert", "-f", "raw", "-O", {"vhd": "vpc"}.get(disk_format, disk_format), raw, path)

    with WebServer(path.read_bytes()) as web:
        *digests, is_spooled = read_once(web, disk_format)

    assert tuple(digests) == expected(path, disk_format)
    assert (web.sent, is_spooled) == (path.stat().st_size, True)


@pytest.mark.parametrize("seed", range(500, 514))
def test_random_images_through_random_windows_have_the_digests_of_files(seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"window {seed}")
    path = make_image(seed, tmp_path)
    stored = ScriptedObject(
        path.read_bytes(), seeks=rng.random() < 0.5, is_random=rng.random() < 0.5, mark=rng.choice([None, "mark"])
    )
    window = int(2 ** rng.uniform(9, 23))

    with StreamSource(stored, Recorded(), replace(SETTINGS, window=window)) as stream:
        with HashedSource(stream, ["md5", "sha256"]) as source:
            with open_image(source, "qcow2", DEFAULT_LIMITS, None, lambda: None) as image:
                found = compute(image.disk, source, ["sha256"])
            digests = source.finish()
        stream.verify_unchanged()

    assert (found.digests["sha256"], digests["sha256"]) == digest_beside_source_digests(path)
