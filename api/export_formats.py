"""All manifests as one file, in the forms that people and programs read. docs/export.md describes each.

`GET /v1/export` and `manifest-service export` both write what is made here.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from oslo_log import log

from api.schemas import ManifestDocument
from manifest_service.attestations import envelope
from manifest_service.attestations.envelope import BadStatement
from manifest_service.errors import BundleCode, UsageError
from manifest_service.manifests import walking
from manifest_service.manifests.database import Database
from manifest_service.manifests.queries import ManifestFilter
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord
from manifest_service.manifests.visibility import Visibility
from manifest_service.shown import visible

LOG = log.getLogger(__name__)

PIECE = 64 * 1024
"""Bytes that are handed on at a time, or a line's where it has more: only a block map makes one so long."""
LONGEST_LINE = 64 << 20
"""Bytes of a line with a block map, its end included: nodes and `import` read no longer ones."""
DEFAULT_ALGORITHM = "sha256"


class ExportFormat(StrEnum):
    """What an export looks like. The values are part of the API."""

    JSONL = "jsonl"
    CSV = "csv"
    SHA256SUMS = "sha256sums"
    STATEMENTS = "statements"


MEDIA_TYPES = {
    ExportFormat.JSONL: "application/jsonl",
    ExportFormat.CSV: "text/csv",
    ExportFormat.SHA256SUMS: "text/plain",
    ExportFormat.STATEMENTS: "application/jsonl",
}
CONTENT_TYPES = {
    **MEDIA_TYPES,
    ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
    ExportFormat.SHA256SUMS: "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Export:
    """What to write. algorithm: of the sums. block_maps: whether JSON lines have them."""

    format: ExportFormat = ExportFormat.JSONL
    wanted: ManifestFilter = field(default_factory=ManifestFilter)
    algorithm: str = DEFAULT_ALGORITHM
    block_maps: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for what would silently be another export than is asked for."""
        if self.block_maps and self.format is not ExportFormat.JSONL:
            raise UsageError(
                BundleCode.BAD_EXPORT, f"block maps are members of JSON lines; the format {self.format} has none"
            )
        if self.format is ExportFormat.SHA256SUMS:
            if self.wanted.status not in (None, Status.READY):
                raise UsageError(
                    BundleCode.BAD_EXPORT, f"sums are of ready manifests; status {self.wanted.status} has none"
                )
            object.__setattr__(self, "wanted", replace(self.wanted, status=Status.READY))
        elif self.algorithm != DEFAULT_ALGORITHM:
            raise UsageError(
                BundleCode.BAD_EXPORT, f"an algorithm is chosen for sums; the format {self.format} has all of them"
            )

    @property
    def file_name(self) -> str:
        """What the file is to be called: `SHA256SUMS` as distributions have it, or by its format."""
        match self.format:
            case ExportFormat.SHA256SUMS:
                return f"{self.algorithm.upper()}SUMS"
            case ExportFormat.STATEMENTS:
                return "statements.jsonl"
            case _:
                return f"manifests.{self.format}"


@dataclass(frozen=True)
class Piece:
    """Some whole lines. manifests: how many were gone through for them."""

    text: bytes
    manifests: int


def write(database: Database, seen_by: Visibility, export: Export) -> Iterator[Piece]:
    """The export, piece by piece; none is open in the database while the caller has one. Raises DatabaseAway."""
    line_of = _line_writer(database, export)
    lines = [_csv_line(COLUMNS)] if export.format is ExportFormat.CSV else []
    size = done = 0
    for records in walking.walk(database, seen_by, export.wanted):
        for record in records:
            lines.append(line_of(record))
            size += len(lines[-1])
            done += 1
            if size >= PIECE:
                yield Piece(b"".join(lines), done)
                lines.clear()
                size = done = 0
    yield Piece(b"".join(lines), done)


def _line_writer(database: Database, export: Export) -> Callable[[ManifestRecord], bytes]:
    match export.format:
        case ExportFormat.JSONL:
            return lambda record: _json_line(record, _block_map(database, record) if export.block_maps else None)
        case ExportFormat.CSV:
            return lambda record: _csv_line(_cells(record))
        case ExportFormat.SHA256SUMS:
            return lambda record: _sum_line(record, export.algorithm)
        case ExportFormat.STATEMENTS:
            return _statement_line


def _json_line(record: ManifestRecord, block_map: str | None) -> bytes:
    """The manifest as the API gives it, with its statement and its block map as further members."""
    line = ManifestDocument.of(record).model_dump_json().encode()
    statement = _statement_of(record)
    if statement is not None:
        line = _add_member(line, "statement", statement.as_json())
    if block_map is not None:
        longer = _add_member(line, "bmap", block_map)
        if len(longer) < LONGEST_LINE:
            line = longer
        else:
            LOG.warning("the block map of image %s is left out: its line would be too long", record.image_id)
    return line + b"\n"


def _add_member(document: bytes, name: str, value: object) -> bytes:
    """Put one more member behind the others of a JSON object."""
    return b'%b,"%b":%b}' % (document[:-1], name.encode(), json.dumps(value, separators=(",", ":")).encode())


def _block_map(database: Database, record: ManifestRecord) -> str | None:
    document = walking.read_block_map(database, record)
    if document is None and record.has_block_map:
        LOG.warning("the block map of image %s is left out: it is not the one that was signed", record.image_id)
    return document


def _statement_of(record: ManifestRecord) -> envelope.Envelope | None:
    """The statement, also of a manifest that was edited afterwards: whoever trusts its key learns the truth from it."""
    if record.statement is None:
        return None
    try:
        return envelope.parse(record.statement)
    except BadStatement:
        return None  # Somebody has put something else there.


def _statement_line(record: ManifestRecord) -> bytes:
    statement = _statement_of(record)
    return b"" if statement is None else f"{statement.as_text()}\n".encode()


def _sum_line(record: ManifestRecord, algorithm: str) -> bytes:
    """A line of `sha256sum`, of the file in Nova's `_base`; nothing for a disk without this digest."""
    value = record.digests.get(algorithm)
    return b"" if value is None or record.status is not Status.READY else f"{value}  {record.cache_name}\n".encode()


COLUMNS = (
    "image_id",
    "name",
    "owner",
    "visibility",
    "status",
    "code",
    "revision",
    "cache_name",
    "disk_format",
    "virtual_size",
    "sha256",
    "digests",
    "source_size",
    "source_checksums",
    "computed_at",
    "computed_by",
    "changed_at",
    "deleted_at",
    "imported_at",
    "key_id",
)
"""Of the CSV form. New ones come at the end, and none ever changes its meaning."""


def _cells(record: ManifestRecord) -> tuple[object, ...]:
    return (
        record.image_id,
        record.name,
        record.owner,
        record.visibility,
        record.status,
        record.code,
        record.revision,
        record.cache_name,
        record.disk_format,
        record.virtual_size,
        record.digests.get("sha256"),
        _pairs(record.digests),
        record.source_size,
        _pairs(record.source_checksums),
        _time(record.computed_at),
        record.computed_by,
        _time(record.changed_at),
        _time(record.deleted_at),
        _time(record.imported_at),
        record.key_id,
    )


def _pairs(digests: Mapping[str, str]) -> str:
    return " ".join(f"{algorithm}:{value}" for algorithm, value in sorted(digests.items()))


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# What spreadsheets take for a formula (https://owasp.org/www-community/attacks/CSV_Injection), full-width forms
# included, at the beginning of a cell or behind what some of them also take for the end of one.
_FORMULA = re.compile(r"(^|[;|])(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def safe_cell(text: str) -> str:
    """A cell's text that no spreadsheet takes for a formula, on one line: `'` before what would begin one.

    What cannot be printed shows as Python's escapes.
    """
    return _FORMULA.sub(r"\1'\2", visible(text))


def _csv_line(cells: tuple[object, ...]) -> bytes:
    """A line as RFC 4180 has it."""
    line = io.StringIO()
    csv.writer(line).writerow(["" if cell is None else safe_cell(str(cell)) for cell in cells])
    return line.getvalue().encode()
