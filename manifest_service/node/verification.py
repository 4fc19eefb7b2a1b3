"""Is this file what it should be? The cheapest sufficient evidence first; no more is read than the answer needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from manifest_service.digests import algorithms as known
from manifest_service.digests import engine
from manifest_service.digests.digest import Digest
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.disks.raw import RawDisk
from manifest_service.disks.source import Source
from manifest_service.errors import ComputationFailed, FailureCode, ManifestServiceError, StatementCode
from manifest_service.node import fsverity
from manifest_service.node.base_directory import BaseFile, Kind
from manifest_service.node.differences import Differences, find_data, find_differences
from manifest_service.node.expectations import DELETED, UNFINISHED, UNSIGNED, UNTRUSTED, Expected, Manifests
from manifest_service.node.reading import Pace, PoliteFileSource, Prefix
from manifest_service.node.verdicts import FileVerdict
from manifest_service.verdicts import Evidence, Verdict

FS_VERITY = "fsverity-sha256"

_CHEAPEST_FIRST = (FS_VERITY, "blkhash-sha256", "blake3", "sha256", "sha1", "sha512", "md5")
_NOT_IMAGES = {
    Kind.EPHEMERAL: "an ephemeral disk, which Nova formats by itself",
    Kind.SWAP: "a swap disk, which Nova formats by itself",
    Kind.IN_FLIGHT: "Nova is downloading or converting it, or was when it stopped",
}

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all of the file that is being read."""


@dataclass(frozen=True)
class Settings:
    """How files are checked.

    flat: whether a hash of all bytes is wanted whatever cheaper evidence there is. identify: whether a file whose name
    says nothing is looked up by its digest. seal: whether files that match are to be sealed by fs-verity. pace: how
    fast the disks may be read.
    """

    flat: bool = False
    identify: bool = False
    seal: bool = False
    pace: Pace | None = None


class Verifier:
    """Gives a verdict on one file after the other; whatever is wrong with one is part of its verdict."""

    def __init__(self, manifests: Manifests, settings: Settings, progress: Progress) -> None:
        self._manifests = manifests
        self._settings = settings
        self._progress = progress

    def verify(self, file: BaseFile, expected: Expected | None) -> FileVerdict:
        """Check a file of `_base` against the manifest of the image that its name says."""
        path = str(file.path)
        if file.kind in _NOT_IMAGES:
            return FileVerdict(path, Verdict.NOT_APPLICABLE, _NOT_IMAGES[file.kind], evidence=Evidence.NAME)
        if file.kind is Kind.UNEXPLAINED and self._settings.identify:
            return self._on_open_file(file.path, lambda source: self._identify(file.path, source))
        if file.kind is Kind.UNEXPLAINED:
            return FileVerdict(path, Verdict.UNKNOWN, "its name is none that Nova gives", evidence=Evidence.NAME)
        if expected is None:
            reason = "no image with this name was ever seen: one of another cloud, or deleted long ago"
            return FileVerdict(path, Verdict.UNKNOWN, reason, evidence=Evidence.NAME)
        return self._about(self._check(file, expected), expected)

    def _check(self, file: BaseFile, expected: Expected) -> FileVerdict:
        path = str(file.path)
        if not expected.is_comparable:
            verdict, reason = _why_not_comparable(expected)
            return FileVerdict(path, verdict, reason, evidence=Evidence.NAME)
        found = self._on_open_file(file.path, lambda source: _Comparison(self, file, expected, source).verdict())
        if expected.status == DELETED:
            return replace(found, reason=f"{found.reason}; the image was deleted in Glance")
        return found

    def _on_open_file(self, path: Path, look: Callable[[PoliteFileSource], FileVerdict]) -> FileVerdict:
        try:
            with PoliteFileSource.open(path) as source:
                source.keep_pace(self._settings.pace)
                found = look(source)
                source.verify_unchanged()
                return self._sealed(found, source) if self._settings.seal else found
        except ComputationFailed as error:
            changed = error.code == FailureCode.SOURCE_CHANGED
            verdict = Verdict.CHANGED_WHILE_READING if changed else Verdict.FAILED
            return FileVerdict(str(path), verdict, error.reason)
        except ManifestServiceError as error:
            return FileVerdict(str(path), Verdict.FAILED, f"it was not checked: {error.reason}")
        except OSError as error:
            return FileVerdict(str(path), Verdict.FAILED, f"it cannot be read: {error.strerror or error}".lower())

    def _identify(self, path: Path, source: PoliteFileSource) -> FileVerdict:
        """Find out which image's disk a file of any name is, by its digest."""
        digests = [FS_VERITY, "sha256"]
        if self._settings.flat:
            digests.reverse()
        for algorithm in digests:
            measured = fsverity.measure(source.fileno()) if algorithm == FS_VERITY else None
            value = measured or self.digest_of(source, algorithm)
            expected = self._manifests.find_by_digest(Digest(algorithm, value))
            if expected is not None and expected.digests.get(algorithm) != value:
                # It was found by this digest, and does not stand for it: see why.
                found, reason = _why_not_comparable(expected)
                return self._about(FileVerdict(str(path), found, reason, size=source.size), expected)
            if expected is not None:
                evidence = Evidence.FS_VERITY if measured else _evidence_of(algorithm)
                reason = "it is the disk of this image, by its digest"
                verdict = FileVerdict(
                    str(path), Verdict.MATCH, reason, evidence=evidence, algorithm=algorithm, size=source.size
                )
                return self._about(verdict, expected)
        reason = "no manifest has its digest; --image-id says which image it should be"
        return FileVerdict(str(path), Verdict.UNKNOWN, reason, size=source.size)

    @property
    def wants_flat(self) -> bool:
        """Whether all bytes are to be hashed, whatever cheaper evidence there is."""
        return self._settings.flat

    def digest_of(self, source: Source, algorithm: str) -> str:
        """The digest of a file as a raw disk; holes are not read for a sparse one."""
        disk = RawDisk(source, DEFAULT_LIMITS)
        return engine.compute(disk, source, [algorithm], progress=self._progress).digests[algorithm]

    def algorithm_for(self, expected: Expected) -> str | None:
        """The cheapest digest that the manifest has and this installation computes."""
        usable = [name for name in _CHEAPEST_FIRST if name in expected.digests]
        usable += sorted(set(expected.digests) & set(known.available()) - set(usable))
        if self._settings.flat:
            usable = [name for name in usable if name not in known.sparse()]
        return next(iter(usable), None)

    def differences(self, expected: Expected, source: Source) -> tuple[Differences | None, str]:
        """Where a file differs from an image's disk, or None and why that cannot be told."""
        try:
            block_map = self._manifests.block_map(expected)
        except ManifestServiceError as error:
            return None, f"; where cannot be told: {error.reason}"
        if block_map is None:
            return None, "; where cannot be told, for its manifest has no block map"
        if block_map.virtual_size != expected.virtual_size:
            return None, "; where cannot be told, for its block map is of a disk of another size"
        return find_differences(block_map, source, lambda done: self._progress(done, source.size)), ""

    def tail(self, source: Source, start: int) -> Differences:
        """What is not zero behind the end of the image's disk."""
        return find_data(source, start, source.size, lambda done: self._progress(done, source.size))

    def _sealed(self, found: FileVerdict, source: PoliteFileSource) -> FileVerdict:
        """Seal a file that matches; the kernel has to come to the same digest then."""
        if found.verdict is not Verdict.MATCH or found.evidence is Evidence.FS_VERITY:
            return found
        before = self.digest_of(source, FS_VERITY)
        source.verify_unchanged()  # So that this is the digest of what was found to match.
        if fsverity.measure(source.fileno()) == before:
            return replace(found, reason=f"{found.reason}; it was sealed by fs-verity already")
        try:
            fsverity.seal(source.fileno())
        except fsverity.NotSealed as error:
            return replace(found, reason=f"{found.reason}; not sealed: {error.reason}")
        if fsverity.measure(source.fileno()) != before:
            reason = "it changed between being checked and being sealed"
            return replace(found, verdict=Verdict.CHANGED_WHILE_READING, reason=reason)
        return replace(found, reason=f"{found.reason}; it is sealed by fs-verity now")

    @staticmethod
    def _about(found: FileVerdict, expected: Expected) -> FileVerdict:
        return replace(found, image_id=expected.image_id, name=expected.name)


@dataclass(frozen=True)
class _Comparison:
    """One open file beside the manifest that it should agree with."""

    verifier: Verifier
    file: BaseFile
    expected: Expected
    source: PoliteFileSource

    def verdict(self) -> FileVerdict:
        measured = None if self.verifier.wants_flat else fsverity.measure(self.source.fileno())
        if measured is not None and measured == self.expected.digests.get(FS_VERITY):
            return self._say(Verdict.MATCH, "the kernel holds it to the image's digest", Evidence.FS_VERITY, FS_VERITY)
        if self.source.size < self.virtual_size:
            return self._unconverted() or self._differing("it is too short", Evidence.NAME)
        algorithm = self.verifier.algorithm_for(self.expected)
        if algorithm is None:
            reason = "its manifest has no digest that can be computed here"
            return self._say(Verdict.UNKNOWN, reason, Evidence.NAME)
        digest = self.verifier.digest_of(Prefix(self.source, self.virtual_size), algorithm)
        if digest != self.expected.digests[algorithm]:
            return self._unconverted() or self._differing("its content is not the image's", _evidence_of(algorithm))
        if self.source.size == self.virtual_size:
            return self._say(Verdict.MATCH, "it is the image's disk", _evidence_of(algorithm), algorithm)
        return self._extended(algorithm)

    @property
    def virtual_size(self) -> int:
        return self.expected.virtual_size or 0

    def _extended(self, algorithm: str) -> FileVerdict:
        """The image's disk, and more: only zeros may follow."""
        tail = self.verifier.tail(self.source, self.virtual_size)
        more = self.source.size - self.virtual_size
        if not tail:
            reason = f"it is the image's disk, then {more} bytes of zeros: Nova grew it"
            return self._say(Verdict.MATCH_EXTENDED, reason, _evidence_of(algorithm), algorithm)
        reason = (
            f"its first {self.virtual_size} bytes are the image's disk, but {_told(tail)} after its end are not zero"
        )
        return self._say(self._bad_verdict(), reason, _evidence_of(algorithm), algorithm, tail)

    def _unconverted(self) -> FileVerdict | None:
        """Whether it is the image's source, as Glance stores it."""
        if self.source.size != self.expected.source_size:
            return None
        for algorithm in _CHEAPEST_FIRST:
            value = self.expected.source_checksums.get(algorithm)
            if value is not None:
                if self.verifier.digest_of(self.source, algorithm) != value:
                    return None
                reason = "it is the image as Glance stores it: nobody has converted it (force_raw_images is off?)"
                return self._say(Verdict.MATCH_UNCONVERTED, reason, _evidence_of(algorithm), algorithm)
        return None

    def _differing(self, what: str, evidence: Evidence) -> FileVerdict:
        differences, why_not = self.verifier.differences(self.expected, self.source)
        if self.source.size != self.virtual_size:
            what += f" (it has {self.source.size} bytes, the image's disk {self.virtual_size})"
        if differences is None:
            return self._say(self._bad_verdict(), f"{what}{why_not}", evidence, None, self._missing())
        if not differences:
            reason = "its digest is not the image's, but its block map is: the manifest contradicts itself"
            return self._say(Verdict.FAILED, reason, Evidence.BLOCK_MAP)
        share = 100 * differences.length / max(self.virtual_size, self.source.size, 1)
        reason = f"{what}: {_told(differences)} ({share:.2g} %) differ"
        return self._say(self._bad_verdict(), reason, Evidence.BLOCK_MAP, None, differences)

    def _missing(self) -> Differences:
        length = self.virtual_size - self.source.size
        return Differences(((self.source.size, length),), 1, length) if length > 0 else Differences()

    def _bad_verdict(self) -> Verdict:
        """A copy that Nova grew may differ rightly: it resizes the file system in it."""
        grown = self.file.kind is Kind.GROWN and self.source.size >= self.virtual_size
        return Verdict.RESIZED if grown else Verdict.CORRUPT

    def _say(
        self,
        verdict: Verdict,
        reason: str,
        evidence: Evidence,
        algorithm: str | None = None,
        differences: Differences | None = None,
    ) -> FileVerdict:
        return FileVerdict(
            str(self.file.path),
            verdict,
            reason,
            evidence=evidence,
            algorithm=algorithm,
            differs=() if differences is None else differences.ranges,
            size=self.source.size,
        )


def _told(differences: Differences) -> str:
    ranges = "1 range" if differences.count == 1 else f"{differences.count} ranges"
    return f"{differences.length} bytes in {ranges}"


def _evidence_of(algorithm: str) -> Evidence:
    return Evidence.SPARSE_DIGEST if algorithm in known.sparse() else Evidence.FLAT_DIGEST


def _why_not_comparable(expected: Expected) -> tuple[Verdict, str]:
    if expected.status == UNTRUSTED:
        return Verdict.FAILED, f"it was not checked, since its manifest is not to be believed: {expected.reason}"
    if expected.status == UNSIGNED:
        return Verdict.UNKNOWN, "its manifest has no signed statement, and only what a trusted key signed is believed"
    if expected.code == StatementCode.MANIFEST_TAMPERED:
        reason = "its manifest was edited in the database after it was signed (manifest-tampered): tell the operator"
        return Verdict.FAILED, f"it was not checked: {reason}"
    if expected.status in UNFINISHED:
        return Verdict.PENDING, "its manifest is not computed yet"
    if expected.status == DELETED:
        return Verdict.UNKNOWN, "the image was deleted in Glance before its manifest was computed"
    return Verdict.UNKNOWN, f"its manifest is {expected.status} ({expected.code or 'no code'}): nothing to compare with"
