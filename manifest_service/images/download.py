"""An image's bytes from Glance to a file, verified against what is recorded of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from manifest_service.disks.raw_file import SparseFileWriter
from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_connection import GlanceAway

TRIES = 5
"""Answers in a row that may fail without a byte beyond those before; one that brings more begins the count anew."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before the second try; twice as many before each further one, up to the longest."""

_DEFAULT_ALGORITHM = "sha512"
"""Glance's own default for os_hash_algo."""

Progress = Callable[[int, int], None]
"""Called with bytes that have come and bytes in all, 0 where nobody knows."""


@dataclass(frozen=True)
class Expectation:
    """What somebody records of an image's bytes. by: who, for messages. checksums: algorithm → hex."""

    by: str
    size: int | None
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Downloaded:
    """What has come. size in bytes; checksums of all of them, algorithm → hex."""

    size: int
    checksums: Mapping[str, str]


def download(
    glance: GlanceApi, image_id: str, descriptor: int, expectations: Iterable[Expectation], progress: Progress
) -> Downloaded:
    """Get an image's bytes into a file, and see that they are what everybody expects.

    descriptor: of the file, open for writing; what it held is gone. An answer that breaks off is gone on with where it
    broke off, if Glance can do that.
    Raises DownloadFailed (source-mismatch among its codes), OutputFailed.
    """
    expectations = list(expectations)
    algorithms = {algorithm for expected in expectations for algorithm in expected.checksums if _is_known(algorithm)}
    receiver = _Receiver(descriptor, algorithms or {_DEFAULT_ALGORITHM}, expectations)
    _receive_all(glance, image_id, receiver, progress)
    found = receiver.finish()
    for expected in expectations:
        _verify(found, expected)
    return found


def _receive_all(glance: GlanceApi, image_id: str, receiver: _Receiver, progress: Progress) -> None:
    failures, furthest = 0, 0
    while True:
        try:
            _receive(glance, image_id, receiver, progress)
        except GlanceAway as error:
            failures = failures + 1 if receiver.done <= furthest else 1
            furthest = max(furthest, receiver.done)
            if failures == TRIES:
                total = "" if receiver.size is None else f" of {receiver.size}"
                raise DownloadFailed(
                    DownloadCode.DOWNLOAD_BROKEN,
                    f"{TRIES} tries brought no more than the first {furthest} bytes{total}; the last one:"
                    f" {error.reason}",
                ) from error
            time.sleep(min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE))
        else:
            return


def _receive(glance: GlanceApi, image_id: str, receiver: _Receiver, progress: Progress) -> None:
    """Receive what is missing, from one answer. Raises GlanceAway where that breaks off."""
    if receiver.done and receiver.done == receiver.size:
        return
    with glance.open_data(image_id, receiver.done) as data:
        if data.offset != receiver.done:
            receiver.begin()
        for part in data.parts:
            receiver.take(part)
            progress(receiver.done, receiver.size or 0)
        if not data.is_framed and receiver.size is not None and receiver.done < receiver.size:
            raise GlanceAway(f"the answer ended after {receiver.done} bytes")


class _Receiver:
    """Writes and hashes what comes."""

    def __init__(self, descriptor: int, algorithms: Iterable[str], expectations: Iterable[Expectation]) -> None:
        self._descriptor = descriptor
        self._algorithms = sorted(algorithms)
        self._sized = next((expected for expected in expectations if expected.size is not None), None)
        self.size = self._sized.size if self._sized else None
        self.begin()

    def begin(self) -> None:
        """Begin at the first byte; what has come before is forgotten."""
        self.done = 0
        self._writer = SparseFileWriter(self._descriptor)
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}

    def take(self, part: bytes) -> None:
        """Take in the next bytes. Raises DownloadFailed for more than there should be."""
        self.done += len(part)
        if self._sized and self.size is not None and self.done > self.size:
            raise _mismatch(f"{self._sized.by} records {self.size} bytes, and more came")
        for new in self._hashes.values():
            new.update(part)
        self._writer.data(memoryview(part))

    def finish(self) -> Downloaded:
        self._writer.finish()
        return Downloaded(self.done, {name: new.hexdigest() for name, new in self._hashes.items()})


def _verify(found: Downloaded, expected: Expectation) -> None:
    if expected.size not in (None, found.size):
        raise _mismatch(f"{expected.by} records {expected.size} bytes, and {found.size} came")
    for algorithm, value in expected.checksums.items():
        computed = found.checksums.get(algorithm, value)
        if computed != value:
            raise _mismatch(f"{expected.by} records {algorithm} {value}, but what came has {computed}")


def _mismatch(reason: str) -> DownloadFailed:
    return DownloadFailed(DownloadCode.SOURCE_MISMATCH, reason)


def _is_known(algorithm: str) -> bool:
    """Whether this is a hash that every installation can compute."""
    return algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake_")
