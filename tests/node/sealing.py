"""What happens in the guest of test_sealing.py: files are sealed there, and tried. Prints what came of it, as JSON.

    python -m tests.node.sealing FOLDER IMAGE_ID        FOLDER: names as in `Files`, on a disk with fs-verity

Nothing is judged here: that is the test's, outside.
"""

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manifest_service.node import fsverity
from tests.servers.service import EXECUTABLE

_FIBMAP = 1
"""Which block of the disk holds a block of a file (include/uapi/linux/fs.h)."""
_BLOCK = 4096
_DISK = Path("/dev/vda")


class Files:
    """The files in the folder."""

    GOOD = "good"
    DAMAGED = "damaged"
    HELD = "held"
    SALTED = "salted"
    BUNDLE = "manifests.jsonl"


def _verify(folder: Path, image_id: str, *paths: Path, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run `verify --enable-fsverity` with nothing in the page cache."""
    _drop_caches()
    before = _bytes_from_disk()
    bundle = folder / Files.BUNDLE
    command: list[str | Path] = [EXECUTABLE, "verify", "--json", "--enable-fsverity", *options, "--manifests", bundle]
    done = subprocess.run(
        [*command, "--image-id", image_id, *paths],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    read = _bytes_from_disk() - before
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        "status": done.returncode,
        "verdicts": {Path(each["file"]).name: each for each in found},
        "bytes_from_disk": read,
    }


def _bytes_from_disk() -> int:
    """How much was read from the folder's disk since the machine started (the kernel's admin-guide/iostats.rst)."""
    fields = next(line.split() for line in Path("/proc/diskstats").read_text().splitlines() if _DISK.name in line)
    return 512 * int(fields[5])


def _measure(path: Path) -> str | None:
    with path.open("rb") as file:
        return fsverity.measure(file.fileno())


def _error_of(action: Callable[[], object]) -> int:
    """The number of the error that the kernel refuses with; 0 if it does not."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def _drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _flip_on_disk(path: Path) -> None:
    """Change a file's first byte behind the back of its file system, as a failing disk does."""
    with path.open("rb") as file:
        (block,) = struct.unpack("=i", fcntl.ioctl(file.fileno(), _FIBMAP, struct.pack("=i", 0)))
    with _DISK.open("r+b") as disk:
        disk.seek(block * _BLOCK)
        byte = disk.read(1)[0]
        disk.seek(block * _BLOCK)
        disk.write(bytes([byte ^ 1]))
        disk.flush()
        os.fsync(disk.fileno())
    _drop_caches()


def main(folder: Path, image_id: str) -> None:
    """Do it all, in the order of the results."""
    good, damaged, held = (folder / name for name in (Files.GOOD, Files.DAMAGED, Files.HELD))
    results: dict[str, Any] = {}

    salted = Path(shutil.copy(good, folder / Files.SALTED))
    subprocess.run(["fsverity", "enable", "--salt=abcd", salted], check=True)
    elsewhere = Path(shutil.copy(good, "/dev/elsewhere"))  # where devices are, the file system has no fs-verity
    with held.open("r+b"):
        results["first"] = _verify(folder, image_id, good, damaged, held, salted, elsewhere)
    results["measured"] = {path.name: _measure(path) for path in (good, damaged, held, elsewhere)}
    results["content"] = _error_of(good.read_bytes)
    results["again"] = _verify(folder, image_id, good)
    results["released"] = _verify(folder, image_id, held)

    results["writing"] = _error_of(lambda: good.open("r+b").close())
    results["truncating"] = _error_of(lambda: os.truncate(good, 0))
    _flip_on_disk(good)
    results["reading_what_the_disk_changed"] = _error_of(good.read_bytes)
    results["flat"] = _verify(folder, image_id, good, options=("--flat",))
    results["deleting"] = _error_of(good.unlink)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
