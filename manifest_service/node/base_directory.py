"""Nova's `_base` folder: what each file in it is, told by its name as Nova's own cache manager tells it.

    <sha1 of the image id>            an image
    <sha1 of the image id>_<suffix>   a copy of one that Nova grew; the suffix is its size in GiB
    <…>.part, <…>.converted           an image that Nova is downloading or converting
    ephemeral_<…>, swap_<…>           disks that Nova formats by itself

Source: nova.virt.libvirt.imagecache, nova.virt.libvirt.imagebackend, nova.virt.images.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from manifest_service.errors import UsageError


class Kind(StrEnum):
    """What a file is, as its name says."""

    IMAGE = "image"
    GROWN = "grown"
    IN_FLIGHT = "in-flight"
    EPHEMERAL = "ephemeral"
    SWAP = "swap"
    UNEXPLAINED = "unexplained"


_KINDS = (
    (Kind.IN_FLIGHT, re.compile(r".+\.(?:part|converted)")),
    (Kind.IMAGE, re.compile(r"(?P<cache_name>[0-9a-f]{40})")),
    (Kind.GROWN, re.compile(r"(?P<cache_name>[0-9a-f]{40})_.+")),
    (Kind.EPHEMERAL, re.compile(r"ephemeral_.+")),
    (Kind.SWAP, re.compile(r"swap_.+")),
)


@dataclass(frozen=True)
class BaseFile:
    """A file of the folder. cache_name: SHA-1 of the image id in hex, for an image and a grown copy of one."""

    path: Path
    kind: Kind
    cache_name: str | None = None


def cache_name_of(image_id: str) -> str:
    """The name of an image's file in `_base`: SHA-1 of its id, in hex."""
    return hashlib.sha1(image_id.encode(), usedforsecurity=False).hexdigest()


def classify(path: Path) -> BaseFile:
    """Tell by a file's name what it is; the file itself is not looked at."""
    for kind, pattern in _KINDS:
        found = pattern.fullmatch(path.name)
        if found:
            return BaseFile(path, kind, found.groupdict().get("cache_name"))
    return BaseFile(path, Kind.UNEXPLAINED)


def list_files(folder: Path) -> Iterator[BaseFile]:
    """The files of a `_base` folder, by name; folders in it are left out, for Nova keeps none there.

    Raises UsageError where the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise UsageError(
            "bad-folder", f"{str(folder)!r} cannot be read as a folder: {(error.strerror or str(error)).lower()}"
        ) from error
    return (classify(folder / name) for name in names)
