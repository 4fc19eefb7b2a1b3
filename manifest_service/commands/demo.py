"""`manifest-service demo`: the story of a corrupted `_base` file, told with real parts on this machine.

Glance and a compute node are played with the libraries they use themselves: glance_store keeps the image,
oslo.messaging carries the notification, qemu-img converts. Everything happens in a folder that is gone afterwards.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from importlib import resources
from pathlib import Path
from typing import Any

import click
from oslo_config import cfg

from manifest_service import config
from manifest_service.commands.client import ApiClient
from manifest_service.commands.conversion import convert, sha256_of
from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.printing import printable
from manifest_service.commands.serve import serving
from manifest_service.commands.wiring import begin_to_log
from manifest_service.disks.formats import detect_format
from manifest_service.disks.source import FileSource
from manifest_service.errors import ManifestServiceError, UsageError
from manifest_service.images.stores import ImageStores, StoredImage
from notifications.glance import GlanceNotifier, upload_payload

PATIENCE = 600
"""Seconds to wait for the manifest; an image that somebody brings may be large."""


@click.command("demo")
@click.argument("image", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(image: Path | None) -> None:
    """Upload an image (IMAGE, or a small one that is shipped), have its manifest, and catch a flipped byte."""
    with (
        ending_in_order(),
        tempfile.TemporaryDirectory(prefix="manifest-service-demo-") as folder,
        resources.as_file(_shipped()) as own,
    ):
        conf = _configure(Path(folder))
        with serving(conf) as (served, transport):
            demo = Demo(conf, transport, ApiClient(served.url), Path(folder))
            verdicts = demo.tell(image or own)
    if verdicts != ["match", "corrupt"]:
        raise ManifestServiceError("demo-failed", f"the verdicts should be match and corrupt; they are {verdicts}")
    say("")
    say("Keep the service running:      make serve")
    say("Its page and its API are at:   http://127.0.0.1:9494/")
    say("Give it an image meanwhile:    .venv/bin/manifest-service try FILE")


def say(text: str) -> None:
    """Print at once, so that the story keeps pace with what happens."""
    click.echo(text)
    sys.stdout.flush()


class Demo:
    """The steps of the story. Each says what it does, in one or two lines."""

    def __init__(self, conf: cfg.ConfigOpts, transport: Any, client: ApiClient, folder: Path) -> None:
        self._conf = conf
        self._transport = transport
        self._client = client
        self._folder = folder
        self._image_id = str(uuid.uuid4())

    def tell(self, image: Path) -> list[str]:
        """Tell it all, and answer both verdicts."""
        with FileSource.open(image) as source:
            disk_format, size = detect_format(source), source.size
        if size == 0:
            raise UsageError("empty-image", "the image is empty: there is no byte in it to flip")
        name = printable(image.name)
        say(f"1. Upload     {name}, a {disk_format} of {size:,} bytes, goes into a glance_store file store")
        with image.open("rb") as data:
            stored = ImageStores(self._conf).add(self._image_id, data, size)
        say(f"              Glance's checksum (MD5 of the {disk_format}): {stored.checksum}")

        say(f"2. Announce   image.upload of {self._image_id} goes through oslo.messaging")
        self._announce(name, disk_format, stored)

        say("3. Compute    the service reads the image once and hashes the disk in it, without writing it")
        manifest = self._client.wait_for_manifest(self._image_id, PATIENCE)
        if manifest["status"] != "ready":
            raise ManifestServiceError(manifest["code"], manifest["reason"])

        say(f"4. Ask        GET {self._client.url}/v1/manifests/{self._image_id}")
        say(f"              virtual_size {manifest['virtual_size']:,}   sha256 {manifest['digests']['sha256']}")

        base = self._folder / "_base" / manifest["cache_name"]
        base.parent.mkdir()
        converter = convert(image, disk_format, base)
        say(f"5. Convert    as Nova does, with {converter}: {size:,} bytes become {base.stat().st_size:,}")

        first = self._verdict(base, manifest)
        say(f"6. Verify     _base/{base.name}: {first}")
        offset = _flip_byte(base)
        second = self._verdict(base, manifest)
        say(f"7. Tamper     byte {offset:,} of the file is flipped; its size stays {base.stat().st_size:,}")
        say(f"8. Verify     _base/{base.name}: {second}")
        return [first, second]

    def _announce(self, name: str, disk_format: str, stored: StoredImage) -> None:
        payload = upload_payload(
            self._image_id, name=name, disk_format=disk_format, size=stored.size, checksum=stored.checksum
        )
        GlanceNotifier(self._conf, self._transport).send("image.upload", payload)

    def _verdict(self, path: Path, manifest: dict[str, Any]) -> str:
        """Compare a `_base` file with the manifest, by size and by the hash of all its bytes."""
        same_size = path.stat().st_size == manifest["virtual_size"]
        return "match" if same_size and sha256_of(path) == manifest["digests"]["sha256"] else "corrupt"


def _configure(folder: Path) -> cfg.ConfigOpts:
    """The embedded default, in a folder of its own and on a free port, whatever is configured on this machine."""
    empty = folder / "empty.conf"
    empty.touch()
    overrides = [
        ("DEFAULT", "state_path", str(folder)),
        ("api", "listen", "127.0.0.1:0"),
        ("worker", "poll_interval", 0.05),
    ]
    conf = config.load([str(empty)], overrides)
    quiet = ["manifest_service=WARN", "notifications=WARN", "api=WARN", "glance_store=WARN"]
    conf.set_override("default_log_levels", [*conf.default_log_levels, *quiet])
    begin_to_log(conf)
    return conf


def _shipped() -> Any:
    return resources.files("manifest_service.commands") / "demo.qcow2"


def _flip_byte(path: Path) -> int:
    """Invert the file's middle byte and say where that is, as failing memory or a visitor might."""
    offset = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
    return offset
