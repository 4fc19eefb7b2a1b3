"""Taking in an export of another site, part by part: an import that was interrupted is run again, and goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from manifest_service.attestations.keys import PublicKey
from manifest_service.manifests import imports
from manifest_service.manifests.database import Database
from manifest_service.manifests.imported import ImportedManifest
from manifest_service.manifests.imports import Outcome
from manifest_service.processing.bundle import PassedOver, read_line
from manifest_service.processing.bundle_fields import BadLine

PART = 200
"""Manifests of one transaction."""
PART_BYTES = 8 << 20
"""Bytes of lines of one transaction, and in memory: with the last one, since a block map may have some MiB."""


class Odd(StrEnum):
    """What else may come of a line. The values are part of the command's output."""

    BAD = "bad"
    """It is no manifest."""
    CONTRADICTORY = "contradictory"
    """It says something else than its own statement; what was signed is taken."""


Result = Outcome | PassedOver | Odd


@dataclass(frozen=True)
class LineResult:
    """What came of one line. number: 1 for the first. reason: of what an operator should know."""

    number: int
    result: Result
    image_id: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ImportSettings:
    """trusted: keys whose statements are believed. unsigned: believe documents without one, too. dry_run: only tell."""

    trusted: Sequence[PublicKey]
    unsigned: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class ImportedPart:
    """What came of some lines. size: bytes of them; all that they brought is in the database."""

    results: Sequence[LineResult]
    size: int


def import_lines(
    database: Database, lines: Iterable[tuple[bytes | None, int]], settings: ImportSettings
) -> Iterator[ImportedPart]:
    """Take in lines, as `bundle.lines_of` gives them. Raises DatabaseAway; what was given before stays."""
    part = _Part()
    for number, (line, size) in enumerate(lines, start=1):
        results, found = _read(number, line, settings)
        if part.is_full or (found is not None and found.image_id in part.manifests):
            yield _finish(database, part, settings)
            part = _Part()
        part.add(number, size, results, found)
    yield _finish(database, part, settings)


class _Part:
    """Lines that are taken in together, of each image one."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[int, ImportedManifest]] = {}
        self.results: list[LineResult] = []
        self.size = 0

    @property
    def is_full(self) -> bool:
        return self.size >= PART_BYTES or max(len(self.manifests), len(self.results)) >= PART

    def add(self, number: int, size: int, results: Iterable[LineResult], found: ImportedManifest | None) -> None:
        self.size += size
        self.results += results
        if found is not None:
            self.manifests[found.image_id] = (number, found)


def _read(
    number: int, line: bytes | None, settings: ImportSettings
) -> tuple[Sequence[LineResult], ImportedManifest | None]:
    """What is known of a line before the database is asked, and what is to be taken of it."""
    if line is not None and not line.strip():
        return [], None
    try:
        read = read_line(line, settings.trusted, unsigned=settings.unsigned)
    except BadLine as error:
        return [LineResult(number, Odd.BAD, reason=error.reason)], None
    if isinstance(read.found, PassedOver):
        return [LineResult(number, read.found, read.image_id, read.told)], None
    if read.told and read.found.key is not None:
        return [LineResult(number, Odd.CONTRADICTORY, read.image_id, read.told)], read.found
    return [], read.found


def _finish(database: Database, part: _Part, settings: ImportSettings) -> ImportedPart:
    found = [manifest for _, manifest in part.manifests.values()]
    taken = database.transaction(lambda session: imports.take_in(session, found, dry_run=settings.dry_run))
    numbers = [number for number, _ in part.manifests.values()]
    results = [
        LineResult(number, each.outcome, each.image_id, each.reason)
        for number, each in zip(numbers, taken, strict=True)
    ]
    return ImportedPart([*part.results, *results], part.size)
