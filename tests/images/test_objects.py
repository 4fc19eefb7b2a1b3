"""Each kind of store with a real server where there is one: found, read, gone on with, and never mixed or told of."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from glance_store import capabilities, exceptions
from oslo_config import cfg

from manifest_service import config
from manifest_service.errors import ComputationFailed
from manifest_service.images.drivers import Drivers
from manifest_service.images.objects.driver_object import DriverObject
from manifest_service.images.objects.stored_object import ObjectMissing
from manifest_service.images.stores import ImageStores
from manifest_service.images.streams.forward import Recorded
from manifest_service.images.streams.patience import Patience
from manifest_service.images.streams.stream import StreamSettings, StreamSource
from tests.images.small_glance import SmallGlance
from tests.images.test_streams import read
from tests.servers.small_keystone import SmallKeystone
from tests.servers.swift import ACCOUNT, KEY, REGION, USER, Swift
from tests.servers.web import WebServer, cut, stalled, status, whole

# What swiftclient does with keystoneclient.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using the 'tenant_name' argument"),
    pytest.mark.filterwarnings("ignore:.* deprecated .*:DeprecationWarning"),
]

IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
DATA = random.Random(11).randbytes(6 << 20)
OTHER = random.Random(12).randbytes(6 << 20)
RECORDED = Recorded(len(DATA), has_checksums=True)
PATIENT = "[limits]\nstream_window = 1048576\nstore_silence = 20\nstore_pause = 0\nscratch_reserve = 0\n"
HASTY = PATIENT.replace("store_silence = 20", "store_silence = 2")
"""For a server that stalls on purpose: whatever else takes so long there is tried again, too."""


def configuration(folder: Path, text: str) -> cfg.ConfigOpts:
    file = folder / "service.conf"
    file.write_text(f"[DEFAULT]\nstate_path = {folder}/state\n{text}")
    (folder / "state" / "scratch").mkdir(parents=True, exist_ok=True)
    return config.load([str(file)])


def stores(folder: Path, text: str) -> ImageStores:
    return ImageStores(configuration(folder, text))


@pytest.fixture
def object_stores(swift: Swift) -> Iterator[str]:
    """Both of Swift's interfaces, configured as in glance-api.conf."""
    with SmallKeystone(swift.auth_url, ACCOUNT) as keystone:
        yield f"""enabled_backends = fast:s3,archive:swift
[glance_store]
default_backend = fast
[fast]
s3_store_host = {swift.endpoint}
s3_store_access_key = {swift.s3_access_key}
s3_store_secret_key = {KEY}
s3_store_region_name = {REGION}
s3_store_bucket = images
s3_store_create_bucket_on_put = true
s3_store_bucket_url_format = path
[archive]
swift_store_auth_address = {keystone.url}
swift_store_user = {ACCOUNT}:{USER}
swift_store_key = {KEY}
swift_store_container = images
swift_store_create_container_on_put = true
"""


class Filled:
    """An image in one of Swift's interfaces, put there by glance_store itself, and a Glance that knows where."""

    def __init__(self, folder: Path, object_stores: str, kind: str) -> None:
        self.name = {"s3": "fast", "swift": "archive"}[kind]
        self._scheme = {"s3": "s3", "swift": "swift"}[kind]
        self._drivers = Drivers(configuration(folder, object_stores))
        self._driver = self._drivers.store_of(self.name, self._scheme)
        self.uri = self.put(DATA)

    def put(self, data: bytes) -> str:
        """Store bytes, in the place of those before; where they are."""
        with pytest.MonkeyPatch.context() as patch:
            if self._scheme == "s3":  # The driver never writes over an object; somebody else may.
                patch.setattr(self._driver, "_object_exists", lambda *_: False)
            else:
                patch.setattr(self._driver, "_delete_stale_chunks", lambda *_: None)
            uri: str = self._driver.add(IMAGE_ID, io.BytesIO(data), len(data), "sha512")[0]
        return uri


@pytest.fixture(params=["s3", "swift"])
def filled(
    request: pytest.FixtureRequest, object_stores: str, tmp_path: Path
) -> Iterator[tuple[Filled, ImageStores, str]]:
    image = Filled(tmp_path, object_stores, request.param)
    with SmallGlance([(image.uri, image.name)]) as glance:
        yield image, stores(tmp_path, f"{object_stores}{glance.config}{PATIENT}"), request.param


def test_an_object_is_found_by_its_location_and_read_in_any_order(filled: tuple[Filled, ImageStores, str]) -> None:
    _, found, kind = filled

    with found.open(IMAGE_ID, RECORDED) as source:
        assert (source.read_from, source.size) == (f"{kind} (locations)", len(DATA))
        assert read(source, 4_000_000, 1000) == DATA[4_000_000:4_001_000]
        assert read(source, 7, 2_000_000) == DATA[7:2_000_007]
        assert read(source, 0, len(DATA)) == DATA
        assert isinstance(source, StreamSource)
        assert not source.is_spooled
        source.verify_unchanged()


def test_an_object_that_was_written_over_is_not_read_on(filled: tuple[Filled, ImageStores, str]) -> None:
    image, found, _ = filled

    with found.open(IMAGE_ID, RECORDED) as source:
        read(source, 4_000_000, 1000)
        image.put(OTHER)
        with pytest.raises(ComputationFailed, match="another version") as caught:
            read(source, 0, 1000)

    assert caught.value.code == "source-changed"


def test_an_object_that_is_gone_is_not_found(
    filled: tuple[Filled, ImageStores, str], object_stores: str, tmp_path: Path
) -> None:
    image, _, _ = filled
    with SmallGlance([(image.uri[:-4] + "ffff", image.name)]) as glance:
        moved = stores(tmp_path, f"{object_stores}{glance.config}{PATIENT}")
        with pytest.raises(ComputationFailed) as caught:
            moved.open(IMAGE_ID)

    assert (caught.value.code, caught.value.retriable) == ("source-not-found", True)


def test_a_store_that_does_not_take_our_key_says_so(
    filled: tuple[Filled, ImageStores, str], object_stores: str, tmp_path: Path
) -> None:
    image, _, kind = filled
    wrong = object_stores.replace(KEY, "wrong")
    with SmallGlance([(image.uri.replace(KEY, "wrong"), image.name)]) as glance:
        found = stores(tmp_path, f"{wrong}{glance.config}{PATIENT}")
        with pytest.raises(ComputationFailed) as caught:
            found.open(IMAGE_ID)

    assert caught.value.retriable
    assert kind in caught.value.reason
    assert "wrong" not in caught.value.reason


@contextmanager
def web_stores(web: WebServer, folder: Path, url: str | None = None, patience: str = PATIENT) -> Iterator[ImageStores]:
    with SmallGlance([(url or web.url, None)]) as glance:
        text = f"[glance_store]\nstores = http\n{glance.config}{patience}"
        yield stores(folder, text)


def test_a_web_server_is_read_with_the_credentials_of_the_location(tmp_path: Path) -> None:
    with (
        WebServer(DATA) as web,
        web_stores(web, tmp_path, f"http://user:secret@{web.place}/image") as found,
        found.open(IMAGE_ID, RECORDED) as source,
    ):
        assert source.read_from == "http (locations)"
        assert read(source, 0, len(DATA)) == DATA

    assert web.authorizations == ["Basic dXNlcjpzZWNyZXQ="]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.slow
def test_a_web_server_that_breaks_off_or_stalls_is_gone_on_with(ranges: bool, tmp_path: Path) -> None:
    with (
        WebServer(DATA, [cut(1_000_000), stalled(2_000_000), status(503), whole], ranges=ranges) as web,
        web_stores(web, tmp_path, patience=HASTY) as found,
        found.open(IMAGE_ID, RECORDED) as source,
    ):
        assert read(source, 0, len(DATA)) == DATA

    assert web.asked[0] is None
    assert any((asked or "").startswith("bytes=") for asked in web.asked)


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (status(404), "source-not-found", "looked in: http; by: convention, locations, direct_url, download"),
        (status(403), "source-unreadable", "answered 403"),
        (status(500), "store-broken", "answered 500"),
        (status(302, Location="/image"), "store-broken", "TooManyRedirects"),
        (status(200, **{"Content-Length": "-5"}), "store-broken", "its Content-Length is none"),
    ],
)
def test_a_web_server_without_the_image_says_why(answer: Any, code: str, told: str, tmp_path: Path) -> None:
    with (
        WebServer(DATA, [answer]) as web,
        web_stores(web, tmp_path) as found,
        pytest.raises(ComputationFailed, match=told) as caught,
    ):
        found.open(IMAGE_ID, RECORDED)

    assert (caught.value.code, caught.value.retriable) == (code, True)


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    with (
        WebServer(DATA) as target,
        WebServer(b"", [status(302, Location=target.url)]) as web,
        web_stores(web, tmp_path) as found,
        found.open(IMAGE_ID, RECORDED) as source,
    ):
        assert read(source, 5, 100) == DATA[5:105]


def test_a_file_outside_the_stores_folders_is_no_image_whatever_glance_says(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret").write_bytes(b"not an image")
    (tmp_path / "images" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "images" / "elsewhere-named").write_bytes(b"an image")
    for name in ("secret", "images/../secret", "images/link"):
        with SmallGlance([(f"file://{tmp_path}/{name}", None)]) as glance:
            text = f"[glance_store]\nstores = file\nfilesystem_store_datadir = {tmp_path}/images\n{glance.config}"
            with pytest.raises(ComputationFailed, match="store that is not configured here: file"):
                stores(tmp_path, text).open(IMAGE_ID)

    with SmallGlance([(f"file://{tmp_path}/images/elsewhere-named", None)]) as glance:
        text = f"[glance_store]\nstores = file\nfilesystem_store_datadir = {tmp_path}/images\n{glance.config}"
        with stores(tmp_path, text).open(IMAGE_ID) as source:
            assert (source.read_from, source.size) == ("file (locations)", 8)


def test_a_store_that_is_not_configured_is_named_and_nothing_else_of_the_location(tmp_path: Path) -> None:
    with SmallGlance([("vsphere://user:secret@host/folder", None)]) as glance:
        found = stores(tmp_path, f"[glance_store]\nstores = file\n{glance.config}")
        with pytest.raises(ComputationFailed, match="not configured here: vsphere") as caught:
            found.open(IMAGE_ID)

    assert caught.value.code == "store-unsupported"
    assert "secret" not in str(caught.value)


class StandInDriver:
    """What glance_store's drivers of rbd and cinder do at their boundary, as their source says.

    Both give the bytes in parts of their own size. rbd begins at the first byte, whatever it is told; cinder begins at
    `offset`, and answers with the size of the volume's image, or with `chunk_size` if it is given one.
    """

    def __init__(self, data: bytes, *, seeks: bool, breaks_at: int | None = None) -> None:
        self._data = data
        self._seeks = seeks
        self._breaks_at = breaks_at
        self.offsets: list[int] = []
        self.let_go = 0

    def is_capable(self, wanted: capabilities.BitMasks) -> bool:
        return self._seeks and wanted == capabilities.BitMasks.READ_OFFSET

    def get(
        self, location: object, offset: int = 0, chunk_size: int | None = None, context: None = None
    ) -> tuple[Iterator[bytes], int]:
        self.offsets.append(offset)
        if not self._data:
            raise exceptions.NotFound(message="RBD image secret-pool does not exist")
        return self._parts(offset), chunk_size or len(self._data)

    def _parts(self, offset: int) -> Iterator[bytes]:
        try:
            for start in range(offset, len(self._data), 1 << 16):
                if self._breaks_at is not None and start >= self._breaks_at:
                    self._breaks_at = None
                    raise RuntimeError("the cluster is away")
                yield self._data[start : start + (1 << 16)]
        finally:
            self.let_go += 1


@pytest.mark.parametrize(("kind", "seeks"), [("rbd", False), ("cinder", True)])
def test_other_drivers_are_read_in_order_and_gone_on_with_as_they_can(kind: str, seeks: bool) -> None:
    driver = StandInDriver(DATA, seeks=seeks, breaks_at=3 << 20)
    settings = StreamSettings(1 << 20, Patience(60.0, 0.0))

    with StreamSource(DriverObject(kind, driver, SimpleNamespace()), RECORDED, settings) as source:
        assert read(source, 0, len(DATA)) == DATA
        source.verify_unchanged()

    assert driver.offsets == ([0, 3 << 20] if seeks else [0, 0])
    assert driver.let_go == 2


def test_what_a_driver_does_not_have_is_missing() -> None:
    with pytest.raises(ObjectMissing):
        StreamSource(DriverObject("rbd", StandInDriver(b"", seeks=False), None), RECORDED, StreamSettings())


def test_an_rbd_store_is_asked_by_convention_for_the_snapshot_that_glance_takes(tmp_path: Path) -> None:
    drivers = Drivers(configuration(tmp_path, "[glance_store]\nstores = rbd\n"))

    (place,) = drivers.by_convention(IMAGE_ID)
    assert isinstance(place, DriverObject)
    assert place.kind == "rbd"

    store = drivers.store_of(None, "rbd")
    store._url_prefix = "rbd://fsid/images/"  # What the driver sets, where it reaches Ceph.
    (found,) = drivers.by_convention(IMAGE_ID)
    assert isinstance(found, DriverObject)
    location = found.location.store_location
    assert (location.fsid, location.pool, location.image, location.snapshot) == ("fsid", "images", IMAGE_ID, "snap")
