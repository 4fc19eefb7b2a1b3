"""The place where a page's commands are typed: a checkout, an image, and the names of a reader's own cloud.

Pages speak of hosts and folders that are the reader's. `STAND_INS` says what stands for each of them here; everything
else is run as it is written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import ROOT, files_of
from tests.servers import programs
from tests.servers.process import free_port
from tests.servers.service import write_config

IMAGE = ROOT / "manifest_service" / "commands" / "demo.qcow2"
IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
"""The image that all pages speak of."""
CACHE_NAME = hashlib.sha1(IMAGE_ID.encode()).hexdigest()

_OPENSTACK = "#!/bin/sh\n# Stands for the client that asks Keystone for a token.\necho admin,member\n"


@dataclass(frozen=True)
class World:
    """What is there beside the folder.

    url: of an API that knows the image. files: what the reader has in the folder, name → the file. base: what a compute
    node has in its `_base`. stand_ins: more of them.
    """

    url: str
    files: Mapping[str, Path]
    base: Path
    keys: Path
    stand_ins: Mapping[str, str] = field(default_factory=dict)


class Sandbox:
    """One folder for one page."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self._world = world
        self._site = folder / "site"
        self._own_port = free_port()

    def prepare(self, page: Path) -> None:
        """Put everything there that a page takes for granted, and the files that it shows."""
        for path in ROOT.iterdir():
            if path.name not in (".git", ".state"):
                (self.folder / path.name).symlink_to(path)
        for name, file in self._world.files.items():
            copy_sparsely(file, self.folder / name)
        for name, text in files_of(page):
            (self.folder / name).write_text(text)
        for name in ("home", "bin"):
            (self._site / name).mkdir(parents=True)
        (self._site / "_base").mkdir()
        for file in self._world.base.iterdir():
            copy_sparsely(file, self._site / "_base" / file.name)
        shutil.copytree(self._world.keys, self._site / "etc" / "keys")
        client = self._site / "bin" / "openstack"
        client.write_text(_OPENSTACK)
        client.chmod(0o755)
        # Where `serve` looks when it is told nothing: the usual port may be taken.
        listen = {"listen": f"127.0.0.1:{self._own_port}"}
        write_config(self._site / "home" / "manifest-service.conf", {"api": listen})

    def environment(self) -> dict[str, str]:
        """Of a reader who has activated the environment."""
        path = [self._site / "bin", Path(sys.executable).parent, programs.PATH]
        return {
            "HOME": str(self._site / "home"),
            "XDG_STATE_HOME": str(self._site / "home" / "state"),
            "PATH": os.pathsep.join(map(str, path)),
            "LANG": "C.UTF-8",
            "COLUMNS": "160",
            # A page that installs what is here already asks nobody.
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def in_this_place(self, text: str, *, starts_service: bool) -> str:
        """A command, or what it prints, with what stands here for the reader's own hosts and folders."""
        stand_ins = {
            "http://127.0.0.1:9494": f"http://127.0.0.1:{self._own_port}" if starts_service else self._world.url,
            "http://manifests.example:9494": self._world.url,
            "/var/lib/nova/instances/_base": str(self._site / "_base"),
            "/etc/manifest-service": str(self._site / "etc"),
            **self._world.stand_ins,
        }
        for written, here in stand_ins.items():
            text = text.replace(written, here)
        return text


def copy_sparsely(file: Path, copy: Path) -> None:
    """Copy a file that may have gigabytes of zeros."""
    subprocess.run(["cp", "--sparse=always", file, copy], check=True)
