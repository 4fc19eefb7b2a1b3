"""Many files at once: their manifests are asked for together, then each is checked by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manifest_service.errors import ManifestServiceError, UsageError
from manifest_service.node.base_directory import BaseFile, Kind
from manifest_service.node.expectations import Expected, Manifests
from manifest_service.node.verdicts import FileVerdict
from manifest_service.node.verification import Verifier
from manifest_service.verdicts import Verdict

_WITH_MANIFEST = {Kind.IMAGE, Kind.GROWN}


class Scan:
    """Gives the verdicts on files, one after the other. Whatever is wrong with one, the others are checked."""

    def __init__(self, manifests: Manifests, verifier: Verifier) -> None:
        self._manifests = manifests
        self._verifier = verifier

    def verdicts(self, files: Sequence[BaseFile]) -> Iterator[FileVerdict]:
        """Check files in order. Raises UsageError where manifests are to be read from what has none."""
        names = [file.cache_name for file in files if file.kind in _WITH_MANIFEST and file.cache_name is not None]
        try:
            expectations = self._manifests.find_by_cache_names(names) if names else {}
        except UsageError:
            raise
        except ManifestServiceError as error:
            yield from (self._without_manifests(file, error) for file in files)
        else:
            yield from (self._verifier.verify(file, _expected_of(file, expectations)) for file in files)

    def _without_manifests(self, file: BaseFile, error: ManifestServiceError) -> FileVerdict:
        if file.kind in _WITH_MANIFEST:
            reason = f"it was not checked, since its manifest could not be had: {error.reason}"
            return FileVerdict(str(file.path), Verdict.FAILED, reason)
        return self._verifier.verify(file, None)


def _expected_of(file: BaseFile, expectations: Mapping[str, Expected]) -> Expected | None:
    return None if file.cache_name is None else expectations.get(file.cache_name)
