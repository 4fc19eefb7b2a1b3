"""Each way that leads an image into Glance, and out of it: what a user does, and what must have become of it then."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from tests import qemu
from tests.servers.glance import Glance
from tests.servers.glance_client import GlanceClient
from tests.waiting import eventually

SEVERAL_STORES: Mapping[str, Mapping[str, str]] = {
    "DEFAULT": {"enabled_backends": "fast:file,cheap:file,web:http"},
    "web": {},
}
CONVERTING: Mapping[str, Mapping[str, str]] = {
    "image_import_opts": {"image_import_plugins": "[image_conversion]"},
    "image_conversion": {"output_format": "raw"},
    "taskflow_executor": {"conversion_format": "raw"},
}


@dataclass(frozen=True)
class User:
    """Whoever uploads: with a client of Glance, files at hand, and a web server that has them too."""

    client: GlanceClient
    folder: Path
    web: str

    def qcow2(self) -> Path:
        """A small qcow2 image, other than all before."""
        path = self.folder / f"{os.urandom(4).hex()}.qcow2"
        qemu.create(path, 1 << 20)
        qemu.io(
            path, [f"write -P {1 + os.urandom(1)[0] % 255} 64k 64k", f"write -P {1 + os.urandom(1)[0] % 255} 256k 4k"]
        )
        return path

    def url_of(self, path: Path) -> str:
        return f"{self.web}/{path.name}"

    def create(self, **properties: object) -> str:
        image_id: str = self.client.create_image("qcow2", "bare", **properties)["id"]
        return image_id

    def upload(self, **properties: object) -> str:
        image_id = self.create(**properties)
        self.client.upload(image_id, self.qcow2().read_bytes())
        return image_id

    def wait_for(self, image_id: str, status: str = "active", hashes: int = 0, **shown: object) -> None:
        """Until Glance says so. Imports go on after the call that began them."""

        def is_so() -> bool:
            image = self.client.show(image_id)
            has = bool(image.get("os_hash_value")) >= bool(hashes)
            shows = image["status"] == status and has and all(image.get(k) == v for k, v in shown.items())
            return shows and not self.client.is_importing(image_id)

        eventually(is_so)


@dataclass(frozen=True)
class Flow:
    """What a user does with one image; `status` and `code` of what must come of it, None where nothing may.

    glance: `several` stores, or `converting`. other: events that its history has beside those of one computation.
    """

    act: Callable[[User], str]
    status: str | None = "ready"
    code: str | None = None
    glance: str = "several"
    disk_format: str = "qcow2"
    computations: int = 1
    other: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.act.__name__.replace("_", "-")


def plain_upload(user: User) -> str:
    return user.upload()


def glance_direct(user: User) -> str:
    image_id = user.create()
    user.client.stage(image_id, user.qcow2().read_bytes())
    user.client.import_staged(image_id, ["cheap"])
    user.wait_for(image_id)
    return image_id


def glance_direct_into_two_stores(user: User) -> str:
    image_id = user.create()
    user.client.stage(image_id, user.qcow2().read_bytes())
    user.client.import_staged(image_id, ["fast", "cheap"])
    user.wait_for(image_id, stores="fast,cheap")
    return image_id


def web_download(user: User) -> str:
    image_id = user.create()
    user.client.import_from(image_id, user.url_of(user.qcow2()), ["fast"])
    user.wait_for(image_id)
    return image_id


def copy_image(user: User) -> str:
    image_id = user.upload()
    user.client.copy_to(image_id, ["cheap"])
    user.wait_for(image_id, stores="fast,cheap")
    return image_id


def deletion_from_one_store(user: User) -> str:
    image_id = copy_image(user)
    user.client.delete(image_id, "fast")
    user.wait_for(image_id, stores="cheap")
    return image_id


def conversion(user: User) -> str:
    """Glance's plugin makes a raw image of it, and stores that."""
    image_id = user.create()
    user.client.stage(image_id, user.qcow2().read_bytes())
    user.client.import_staged(image_id)
    user.wait_for(image_id)
    return image_id


def location_added(user: User) -> str:
    image_id = user.create()
    user.client.add_location(image_id, user.url_of(user.qcow2()))
    user.wait_for(image_id, hashes=1)
    return image_id


def aborted_upload(user: User) -> str:
    image_id = user.create()
    _abort(user, image_id)
    return image_id


def _abort(user: User, image_id: str) -> None:
    """Break off in the middle: the chunks end without an end."""

    def parts() -> Iterator[bytes]:
        yield user.qcow2().read_bytes()[:1000]
        eventually(lambda: user.client.show(image_id)["status"] == "saving")
        raise ConnectionAbortedError

    with suppress(ConnectionAbortedError, requests.RequestException):
        user.client.upload(image_id, parts())
    user.wait_for(image_id, "queued")


def upload_after_an_aborted_one(user: User) -> str:
    image_id = aborted_upload(user)
    user.client.upload(image_id, user.qcow2().read_bytes())
    user.wait_for(image_id)
    return image_id


def failed_import(user: User) -> str:
    image_id = user.create()
    user.client.import_from(image_id, f"{user.web}/no-such-file", ["fast"])
    user.wait_for(image_id, "queued", os_glance_failed_import="fast")
    return image_id


def import_after_a_failed_one(user: User) -> str:
    image_id = failed_import(user)
    eventually(lambda: _import_is_taken(user, image_id))
    user.wait_for(image_id)
    return image_id


def _import_is_taken(user: User, image_id: str) -> bool:
    try:
        user.client.import_from(image_id, user.url_of(user.qcow2()), ["fast"])
    except requests.HTTPError:
        return False  # Glance's SQLite was locked by the task before.
    return True


def snapshot(user: User) -> str:
    """As Nova takes one of a running instance: properties first, the format when the data comes."""
    image_id: str = user.client.create_image(
        "qcow2",
        "bare",
        name="snapshot",
        visibility="private",
        image_type="snapshot",
        instance_uuid="6f70656e-0000-4000-8000-737461636b21",
        base_image_ref="00000000-0000-4000-8000-000000000001",
        image_state="available",
    )["id"]
    user.client.upload(image_id, user.qcow2().read_bytes())
    return image_id


def snapshot_of_a_volume(user: User) -> str:
    """As Nova takes one of an instance that boots from a volume: an image without a byte, which names the volume's."""
    image_id: str = user.client.create_image(
        "raw", "bare", name="snapshot of a volume", bdm_v2="true", block_device_mapping="[]"
    )["id"]
    user.client.upload(image_id, b"")
    return image_id


def visibilities(user: User) -> str:
    """Hidden, shown, given to all, deactivated and back: nothing of that touches the data."""
    image_id = user.upload()
    for visibility in ("private", "community", "public", "shared"):
        user.client.change(image_id, visibility=visibility)
    user.client.change(image_id, os_hidden=True)
    user.client.deactivate(image_id)
    user.client.reactivate(image_id)
    user.client.change(image_id, os_hidden=False, name="another name")
    return image_id


def shared_with_others(user: User) -> str:
    """Shared with three projects: one looks not yet, one accepts, one rejects, and a fourth is taken off again."""
    image_id = user.upload()
    for member in ("pending", "accepting", "rejecting", "taken-off"):
        user.client.add_member(image_id, f"project-{member}")
    user.client.answer_sharing(image_id, "project-accepting", "accepted")
    user.client.answer_sharing(image_id, "project-rejecting", "rejected")
    user.client.remove_member(image_id, "project-taken-off")
    return image_id


def deactivated(user: User) -> str:
    """It keeps its manifest: an administrator may still read it, and it may come back."""
    image_id = user.upload()
    user.client.deactivate(image_id)
    return image_id


def deleted(user: User) -> str:
    image_id = user.upload()
    user.client.delete(image_id)
    return image_id


FLOWS = [
    Flow(plain_upload),
    Flow(glance_direct),
    Flow(glance_direct_into_two_stores),
    Flow(web_download),
    Flow(copy_image),
    Flow(deletion_from_one_store),
    Flow(location_added),
    Flow(aborted_upload, None, other=("upload-rejected",)),
    Flow(upload_after_an_aborted_one, other=("upload-rejected",)),
    Flow(failed_import, None),
    Flow(import_after_a_failed_one),
    Flow(snapshot),
    Flow(snapshot_of_a_volume, disk_format="raw"),
    Flow(visibilities),
    Flow(shared_with_others),
    Flow(deactivated),
    # A worker may be at it before the deletion is known, and find nothing in the store.
    Flow(deleted, "deleted", computations=8, other=("deleted", "computation-retried")),
    Flow(conversion, glance="converting", disk_format="raw"),
]


@contextmanager
def user_of(glance: Glance, folder: Path) -> Iterator[User]:
    """A user of a Glance, with a web server on a loopback port."""
    folder.mkdir(exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield User(glance.client, folder, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
