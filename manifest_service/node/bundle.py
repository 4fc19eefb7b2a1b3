"""Manifests from a file, for a node that reaches no API: one manifest document a line, as JSON, the API's own form.

A document may also have the members `bmap`, its block map, and `statement`, its signed statement, both as the API gives
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manifest_service.digests.bmap import BlockMap
from manifest_service.digests.digest import Digest
from manifest_service.disks.limits import MIB
from manifest_service.errors import UsageError
from manifest_service.node.expectations import BadManifest, Expected, read_block_map, read_manifest

_LONGEST_LINE = 64 * MIB
"""Bytes; a block map may have some MiB."""


class BundledManifests:
    """Manifests of one file. It is read through at each question, so that its size does not matter."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where the file cannot be opened."""
        self._path = path
        for _ in self._lines():
            break

    def find_by_cache_names(self, cache_names: Iterable[str]) -> Mapping[str, Expected]:
        wanted = set(cache_names)
        found = self._find(lambda expected: expected.cache_name in wanted)
        return {expected.cache_name: expected for expected, _ in found}

    def find_by_digest(self, digest: Digest) -> Expected | None:
        found = self._find(lambda expected: expected.digests.get(digest.algorithm) == digest.hex)
        return next((expected for expected, _ in found), None)

    def block_map(self, expected: Expected) -> BlockMap | None:
        for _, document in self._find(lambda each: each.image_id == expected.image_id):
            text = document.get("bmap")
            if text is None:
                return None
            if not isinstance(text, str):
                raise BadManifest(f"the block map of image {expected.image_id} should be a text")
            return read_block_map(expected, text.encode("utf-8", "replace"))
        return None

    def _find(self, is_wanted: Callable[[Expected], bool]) -> Iterator[tuple[Expected, dict[str, Any]]]:
        for number, line in enumerate(self._lines(), start=1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
                expected = read_manifest(document)
            except (ValueError, RecursionError) as error:
                raise BadManifest(f"line {number} of {str(self._path)!r} is not JSON") from error
            except BadManifest as error:
                raise BadManifest(f"line {number} of {str(self._path)!r}: {error.reason}") from error
            if is_wanted(expected):
                yield expected, document

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                while line := file.readline(_LONGEST_LINE):
                    yield line
        except OSError as error:
            raise UsageError(
                "bad-manifests", f"{str(self._path)!r} cannot be read: {(error.strerror or str(error)).lower()}"
            ) from error
