"""A small cloud for the pages to show, made by the real service: nothing in the database is written by hand."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any
from uuid import uuid4

import requests

from tests import qemu
from tests.node.images import convert, make_image
from tests.servers.service import EXECUTABLE, ServeProcess, Settings
from tests.waiting import eventually

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class SmallCloud:
    """The service, and the ids of its images by what is the matter with them. disk: the good image's, as a raw file."""

    service: ServeProcess
    good: str
    refused: str
    violated: str
    computing: str
    disk: Path
    source: Path

    @property
    def url(self) -> str:
        return self.service.url


@contextmanager
def small_cloud(folder: Path) -> Iterator[SmallCloud]:
    """Run the service with some images: good, refused, with bytes that changed, and one that takes hours."""
    settings: Settings = {
        "DEFAULT": {"state_path": folder / "state"},
        "digests": {"algorithms": "sha256,fsverity-sha256,blkhash-sha256"},
        "worker": {"concurrency": "2"},
    }
    with ServeProcess(folder / "serve", settings) as service:
        source = make_image(folder, 1).rename(folder / "debian-12-genericcloud-amd64.qcow2")
        good = _try(service, source)
        refused = _try(service, _on_backing_file(folder))
        violated = _try(service, make_image(folder, 2).rename(folder / "rocky-9-base.qcow2"))
        _replace_behind_glance(service, folder, violated)
        disk = convert(source, folder / _cache_name(good))
        _report(service, folder, disk)
        endless = folder / "windows-2025-datacenter.qcow2"
        qemu.create(endless, 512 * GIB)
        computing = _announce(service, folder, endless)
        eventually(lambda: (_manifest(service, computing)["progress"] or {}).get("done", 0) > 20 * GIB)
        yield SmallCloud(service, good, refused, violated, computing, disk, source)


def _try(service: ServeProcess, image: Path) -> str:
    command: list[str | Path] = [EXECUTABLE, "try", "--config-file", service.config_files[-1], "--json", image]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    image_id: str = json.loads(done.stdout)["image_id"]
    return image_id


def _announce(service: ServeProcess, folder: Path, image: Path) -> str:
    """Store an image and announce it, without waiting for its manifest."""
    image_id = str(uuid4())
    copyfile(image, _stored(folder, image_id))
    body = {"image": {"name": image.name, "disk_format": "qcow2", "size": image.stat().st_size}}
    _compute(service, image_id, body)
    return image_id


def _compute(service: ServeProcess, image_id: str, body: dict[str, Any] | None = None) -> None:
    url = f"{service.url}/v1/manifests/{image_id}/computations"
    requests.post(url, json=body, timeout=60).raise_for_status()


def _on_backing_file(folder: Path) -> Path:
    """An image that would have Nova read another file of its host."""
    image = folder / "harmless-\u202e2wocq.iso"
    qemu.create(image, 64 * MIB)
    with image.open("r+b") as file:
        # The header's backing_file_offset and backing_file_size, then the name itself.
        file.seek(8)
        file.write((1024).to_bytes(8, "big") + (11).to_bytes(4, "big"))
        file.seek(1024)
        file.write(b"/etc/shadow")
    return image


def _replace_behind_glance(service: ServeProcess, folder: Path, image_id: str) -> None:
    """Put other bytes into the store under the same id, and have the image read again."""
    _stored(folder, image_id).write_bytes(make_image(folder, 3).read_bytes())
    _compute(service, image_id)
    history = f"{service.url}/v1/events?kind=immutability-violation"
    eventually(lambda: requests.get(history, timeout=60).json()["events"])


def _report(service: ServeProcess, folder: Path, disk: Path) -> None:
    """Have two nodes look through their `_base`: one with a good and an unknown file, one with a corrupt one."""
    for node, is_corrupt in (("compute-1.example.org", False), ("compute-2.example.org", True)):
        base = folder / node
        base.mkdir()
        copied = base / disk.name
        copyfile(disk, copied)
        if is_corrupt:
            with copied.open("r+b") as file:
                file.seek(5 * MIB)
                file.write(b"\x01")
        else:
            (base / "forgotten-copy").write_bytes(bytes(MIB))
        command: list[str | Path] = [EXECUTABLE, "scan", "--url", service.url, "--json", base]
        scan = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
        found = [_as_on_a_node(json.loads(line)) for line in scan.stdout.splitlines()]
        report = {"node": node, "verifications": found}
        requests.post(f"{service.url}/v1/verifications", json=report, timeout=60).raise_for_status()


def _as_on_a_node(found: dict[str, Any]) -> dict[str, Any]:
    """A verdict as a node reports it, of a file that lies where Nova would have put it."""
    names = ("image_id", "verdict", "evidence", "algorithm", "differs", "size", "reason", "checked_at")
    file = f"/var/lib/nova/instances/_base/{Path(found['file']).name}"
    return {"id": str(uuid4()), "file": file} | {name: found[name] for name in names}


def _manifest(service: ServeProcess, image_id: str) -> dict[str, Any]:
    manifest: dict[str, Any] = requests.get(f"{service.url}/v1/manifests/{image_id}", timeout=60).json()
    return manifest


def _stored(folder: Path, image_id: str) -> Path:
    return folder / "state" / "images" / image_id


def _cache_name(image_id: str) -> str:
    return hashlib.sha1(image_id.encode(), usedforsecurity=False).hexdigest()
