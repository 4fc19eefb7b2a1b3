"""A compute node's `_base` folder, filled by the real code of Nova in an environment of its own (tools/make-test-venv).

No nova-compute runs: that needs libvirt, a broker and a database. Called are the functions that it calls for an image,
with a stand-in for Glance's API that gives out local files.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.servers import programs

_TIMEOUT = 120
"""Seconds, for one start of Nova. It needs about two, and images in tests are small: this only ends what hangs."""

# Runs in Nova's environment, where neither pytest nor this package can be imported. Reads calls from its input, and
# writes to its output the files that they made, or Nova's own words if it refused. What Nova logs goes to stderr.
_PROGRAM = """
import json, os, shutil, sys
import nova.conf
CONF = nova.conf.CONF
CONF([], project="nova", default_config_files=[], default_config_dirs=[])  # never this machine's own nova.conf

from oslo_utils import units
from nova.exception import NovaException
from nova.virt import images
from nova.virt.disk import api as disk
from nova.virt.image.model import LocalFileImage
from nova.virt.libvirt import imagecache, utils


class ImageAPI:
    def __init__(self, path, disk_format):
        self._path, self._disk_format = path, disk_format

    def get(self, context, href):
        return {"id": href, "disk_format": self._disk_format, "container_format": "bare"}

    def download(self, context, href, dest_path, trusted_certs=None):
        shutil.copyfile(self._path, dest_path)


def fetch(image_id, path, disk_format):
    images.IMAGE_API = ImageAPI(path, disk_format)
    file = os.path.join(CONF.instances_path, CONF.image_cache.subdirectory_name, imagecache.get_cache_fname(image_id))
    images.fetch_to_raw(None, image_id, file)
    return file


def grow(base_file, size):
    grown = f"{base_file}_{size}"
    utils.copy_image(base_file, grown)
    disk.extend(LocalFileImage(grown, images.qemu_img_info(grown).file_format), size * units.Gi)
    return grown


asked = json.load(sys.stdin)
for option, value in asked["options"].items():
    CONF.set_override(option, value)
try:
    answer = {"files": [globals()[name](**arguments) for name, arguments in asked["calls"]]}
except NovaException as refusal:
    answer = {"refusal": str(refusal)}
json.dump(answer, sys.stdout)
"""


class NovaRefusedError(Exception):
    """Nova refused an image: first its own words, as an instance's fault shows them, then what it logged."""


class NovaFailedError(Exception):
    """Nova ended without an answer; the message is what it printed."""


@dataclass(frozen=True)
class Image:
    """An image as Glance has it: `path` holds its bytes, and `disk_format` is what its owner says they are."""

    image_id: str
    path: Path
    disk_format: str


class NovaNode:
    """A compute node whose `instances_path` is the given folder."""

    def __init__(self, instances_folder: Path) -> None:
        self.instances_folder = instances_folder.resolve()
        self.base_folder = self.instances_folder / "_base"
        self._python = programs.environment("nova") / "bin" / "python"
        self.base_folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, image_id: str, path: Path, disk_format: str, *, force_raw_images: bool = True) -> Path:
        """Have Nova download an image, check it and convert it to raw; return the file in `_base`.

        force_raw_images: with False, what Nova downloaded stays as it is.
        Raises NovaRefusedError.
        """
        [file] = self.fetch_all([Image(image_id, path, disk_format)], force_raw_images=force_raw_images)
        return file

    def fetch_all(self, images: Iterable[Image], *, force_raw_images: bool = True) -> list[Path]:
        """Fetch several images, in order, with one start of Nova, which costs more than a small image does."""
        calls = [("fetch", {**asdict(image), "path": str(image.path.resolve())}) for image in images]
        return self._call(calls, force_raw_images=force_raw_images)

    def grow(self, base_file: Path, size: int) -> Path:
        """Have Nova make the copy of `size` GiB that it names `<sha1>_<size>`; return it.

        A disk of that size or more is only copied. Where the whole disk is an ext2, ext3 or ext4 file system, without
        partitions, Nova grows that too, and so changes what was there; otherwise it adds zeros.

        This is what Nova did in its first years for each size of disk, by today's functions. Today it makes such
        a copy only for a guest's disk that stands on one already, leaves file systems in it alone, and fails (34.0.0)
        when the copy is raw, since it tells qemu-img that it is qcow2: `imagebackend.Qcow2.create_image`.
        """
        programs.find("e2label", "e2fsprogs")
        [file] = self._call([("grow", {"base_file": str(base_file), "size": size})])
        return file

    def _call(self, calls: Iterable[tuple[str, dict[str, Any]]], **options: Any) -> list[Path]:
        programs.find("qemu-img", "qemu-utils")
        options["instances_path"] = str(self.instances_folder)
        # -I: nothing of this checkout or of the user's own modules is to be found by Nova's imports.
        done = subprocess.run(
            [self._python, "-I", "-W", "ignore", "-c", _PROGRAM],
            env={**os.environ, "PATH": programs.PATH},
            input=json.dumps({"options": options, "calls": list(calls)}),
            capture_output=True,
            check=False,
            text=True,
            timeout=_TIMEOUT,
        )
        if done.returncode:
            raise NovaFailedError(done.stderr)
        answer = json.loads(done.stdout)
        if "refusal" in answer:
            raise NovaRefusedError(f"{answer['refusal']}\n{done.stderr}")
        return [Path(file) for file in answer["files"]]
