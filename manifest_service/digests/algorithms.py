"""Which digests can be computed, and how each takes in a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

from manifest_service.digests.blkhash import BlkhashDigest
from manifest_service.digests.fsverity import FsVerityDigest
from manifest_service.digests.hashes import Hash, new_hash
from manifest_service.errors import UsageError

DEFAULT_ALGORITHM = "sha256"

_ZEROS = bytes(1 << 20)


class Consumer(Protocol):
    """What is given a disk from beginning to end, in pieces of any length."""

    def data(self, view: memoryview) -> None:
        """Take in bytes; the view is reused after the call."""
        ...

    def zeros(self, length: int) -> None:
        """Take in so many zeros: bytes that were never read."""
        ...


class DiskDigest(Consumer, Protocol):
    """A digest in the making."""

    def hexdigest(self) -> str:
        """Give the result."""
        ...


class SequentialDigest:
    """A hash of all bytes one after the other, zeros included: what `sha256sum` and the like print of the raw disk."""

    def __init__(self, new: Hash) -> None:
        self._hash = new

    def data(self, view: memoryview) -> None:
        self._hash.update(view)

    def zeros(self, length: int) -> None:
        zeros = memoryview(_ZEROS)
        for start in range(0, length, len(zeros)):
            self._hash.update(zeros[: length - start])

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


_SPARSE: dict[str, Callable[[], DiskDigest]] = {"blkhash-sha256": BlkhashDigest, "fsverity-sha256": FsVerityDigest}


def flat() -> tuple[str, ...]:
    """Name the plain hashes that every installation has: hashlib's of a fixed output size, and blake3."""
    fixed = (name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_"))
    return tuple(sorted([*fixed, "blake3"]))


def sparse() -> tuple[str, ...]:
    """Name the digests whose work grows with a disk's data, where that of the flat ones grows with its size."""
    return tuple(_SPARSE)


def available() -> tuple[str, ...]:
    """Name all algorithms of this installation."""
    return tuple(sorted([*flat(), *sparse()]))


def check(algorithms: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once, in their order. Raises UsageError for an unknown name."""
    names = tuple(dict.fromkeys(algorithms))
    known = available()
    for name in names:
        if name not in known:
            raise UsageError(
                "unknown-algorithm", f"there is no digest algorithm {name!r}; there are {', '.join(known)}"
            )
    return names


def new_digest(algorithm: str) -> DiskDigest:
    """Begin a digest of a disk. Raises UsageError for an unknown name."""
    if algorithm in _SPARSE:
        return _SPARSE[algorithm]()
    check([algorithm])
    return SequentialDigest(new_hash(algorithm))
