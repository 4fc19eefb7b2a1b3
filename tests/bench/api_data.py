"""A database as a cloud of some years has it, made up quickly: what image number n is follows from n alone.

Most images are ready, some are not, a few of each kind are rare. All that is ready has a statement that is really
signed, since the API checks them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from manifest_service.attestations.envelope import sign
from manifest_service.attestations.keys import PrivateKey, generate_private_key, load_private_key
from manifest_service.attestations.statement import DiskStatement, GlanceRecord, write_payload
from tests.bench.measuring import cores

OWNERS = 1000
"""Owner 0 has a tenth of all images, the next two about a fortieth each, and so on. None of owner 0's is an iso."""
WHO = "manifest-service of a benchmark"
NEWEST = datetime(2026, 11, 1, tzinfo=UTC)
"""What was not computed again last changed before."""
AGAIN = datetime(2026, 11, 20, tzinfo=UTC)
"""When the oldest tenth of each filling was computed again."""
MOST = 1_100_000
"""One image came in each minute, and the one of this number would come in at NEWEST."""
SHARED = 50
"""Images whose number this divides hold the same disk: what everybody uploads."""
FLAT, SPARSE = "sha256", "fsverity-sha256"

_BLOCK_MAP = b"<bmap/>"
_PACKED_BLOCK_MAP = rf"\\x{zlib.compress(_BLOCK_MAP).hex()}"
_CHUNK = 10_000
_COLUMNS = {
    "images": "id image_id cache_name name owner visibility disk_format container_format size checksums glance_status"
    " observed_order current_revision status first_seen_at changed_at deleted_at version",
    "manifests": "id image_id revision status code reason expected_size expected_checksums disk_format virtual_size"
    " source_size source_checksums warnings created_at updated_at computed_at computed_by",
    "manifest_digests": "manifest_id algorithm value",
    "manifest_block_maps": "manifest_id document",
    "manifest_statements": "manifest_id key_id envelope",
    "queue_entries": "manifest_id image_id due_at attempts bytes_done bytes_total enqueued_at",
    "events": "image_id kind at detail",
    "verifications": "report_id node file file_key image_id cache_name verdict evidence algorithm differs size reason"
    " checked_at received_at is_latest",
}
_REGISTER_KEY = (
    "INSERT INTO signing_keys (key_id, public_key, first_used_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
)
_Rows = Mapping[str, list[tuple[object, ...]]]


@dataclass(frozen=True)
class Made:
    """One image. again: whether it was computed again lately."""

    number: int
    again: bool = False

    @cached_property
    def image_id(self) -> str:
        return str(UUID(_md5(f"image {self.number}")))

    @property
    def cache_name(self) -> str:
        return hashlib.sha1(self.image_id.encode()).hexdigest()

    @property
    def status(self) -> str | None:
        """Of what is served; None for the few that Glance has announced without data."""
        for divisor, rest, status in (
            (300, 2, None),
            (25, 3, "deleted"),
            (100, 1, "refused"),
            (200, 7, "failed"),
            (500, 9, "pending"),
            (50_000, 11, "computing"),
        ):
            if self.number % divisor == rest:
                return status
        return "ready"

    @cached_property
    def owner(self) -> str:
        return owner_name(self._owner)

    @property
    def _owner(self) -> int:
        return int(OWNERS * (int(_md5(f"owner of {self.number}")[:8], 16) / 2**32) ** 3)

    @property
    def disk_format(self) -> str:
        if self.number % 5000 == 21:
            return "vdi"
        if self.number % 25 == 4 and self._owner:
            return "iso"
        return "raw" if self.number % 7 == 0 else "qcow2"

    @property
    def revisions(self) -> int:
        return 2 if self.number % 20 == 5 else 1

    @property
    def at(self) -> datetime:
        return NEWEST - timedelta(minutes=MOST - self.number)

    def digest(self, algorithm: str) -> str:
        """A digest of its disk, in hex."""
        content = 0 if self.number % SHARED == 0 else self.number
        return hashlib.sha256(f"{algorithm} {content}".encode()).hexdigest()

    @property
    def source_checksum(self) -> str:
        return _md5(f"source {self.number}")


def owner_name(owner: int) -> str:
    """What an owner is called."""
    return _md5(f"owner {owner}")


def fill(url: str, first: int, last: int, key_file: Path) -> None:
    """Add the images of these numbers, and let PostgreSQL see what there is now.

    key_file: the key that the statements are signed with, made where it is not there yet.
    """
    key = load_private_key(key_file) if key_file.exists() else generate_private_key(key_file)
    values = (key.public.key_id, key.public.pem, NEWEST)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_REGISTER_KEY, values)
        begins = range(first, last + 1, _CHUNK)
        chunks = [range(begin, min(begin + _CHUNK, last + 1)) for begin in begins]
        again = first + len(range(first, last + 1)) // 10
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            list(pool.map(partial(_fill_chunk, url, key_file, again), chunks))
        connection.execute("VACUUM ANALYZE")


def _fill_chunk(url: str, key_file: Path, again: int, numbers: Sequence[int]) -> None:
    rows = _rows(numbers, again, load_private_key(key_file))
    with psycopg.connect(url) as connection:
        # References are right by themselves: to look each of them up again would take a third of the time.
        connection.execute("SET session_replication_role = replica")
        for table, columns in _COLUMNS.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns.split()))
            command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
            with connection.cursor() as cursor, cursor.copy(command) as copy:
                copy.write("".join("\t".join(map(_field, row)) + "\n" for row in rows[table]))


def _field(value: object) -> str:
    """A value in COPY's text format; none of ours holds what would have to be escaped."""
    return r"\N" if value is None else str(value)


def _rows(numbers: Sequence[int], again: int, key: PrivateKey) -> _Rows:
    rows: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for number in numbers:
        made = Made(number, number < again)
        for table, row in _rows_of(made, key):
            rows[table].append(row)
    return rows


def _rows_of(made: Made, key: PrivateKey) -> Iterator[tuple[str, tuple[object, ...]]]:
    number, at, status = made.number, made.at.replace(tzinfo=None), made.status
    checksums = f'{{"md5": "{made.source_checksum}"}}'
    yield (
        "images",
        (
            *(number, made.image_id, made.cache_name, f"image {number}", made.owner, "shared", made.disk_format),
            *("bare", number * 4096, checksums, "active", f"{at}|{at}|{made.image_id}"),
            *(None if status is None else made.revisions, status, at),
            *(AGAIN.replace(tzinfo=None) if made.again else at, at if status == "deleted" else None, 1),
        ),
    )
    for revision in range(1, made.revisions + 1 if status is not None else 1):
        is_ready = status in ("ready", "deleted") or revision < made.revisions
        yield from _manifest_rows(made, revision, "ready" if is_ready else str(status), key)
    for kind in ("uploaded", "ready"):
        yield "events", (made.image_id, kind, at, '{"revision": 1}')
    if number % 5 == 0:
        yield (
            "verifications",
            (
                *(UUID(_md5(f"report {number}")), f"node-{number % 997}", f"/_base/{made.cache_name}"),
                *(hashlib.sha256(made.cache_name.encode()).hexdigest(), made.image_id, made.cache_name),
                *(
                    "corrupt" if number % 10_000 == 50 else "match",
                    "digest",
                    FLAT,
                    "[]",
                    number * 16384,
                    "",
                    at,
                    at,
                    "t",
                ),
            ),
        )


def _manifest_rows(made: Made, revision: int, status: str, key: PrivateKey) -> Iterator[tuple[str, tuple[object, ...]]]:
    manifest_id, at = 2 * made.number + revision, made.at.replace(tzinfo=None)
    checksums = f'{{"md5": "{made.source_checksum}"}}'
    code, reason = {"refused": ("backing-file", "it names another file"), "failed": ("worker-lost", "all died")}.get(
        status, (None, None)
    )
    yield (
        "manifests",
        (
            *(manifest_id, made.image_id, revision, status, code, reason, made.number * 4096, checksums),
            *(made.disk_format, made.number * 16384, made.number * 4096, checksums, "[]", at, at, at, WHO),
        ),
    )
    if status in ("pending", "computing"):
        yield "queue_entries", (manifest_id, made.image_id, at, 0, 0, 0, at)
    if status == "ready":
        digests = {algorithm: made.digest(algorithm) for algorithm in (FLAT, SPARSE)}
        for algorithm, value in digests.items():
            yield "manifest_digests", (manifest_id, algorithm, value)
        yield "manifest_block_maps", (manifest_id, _PACKED_BLOCK_MAP)
        stated = DiskStatement(
            image_id=made.image_id,
            revision=revision,
            disk_format=made.disk_format,
            virtual_size=made.number * 16384,
            digests=digests,
            source_size=made.number * 4096,
            source_digests={"md5": made.source_checksum},
            computed_at=made.at,
            computed_by=WHO,
            attested_at=made.at,
            glance=GlanceRecord(f"image {made.number}", made.owner, "shared", "bare"),
            block_map_sha256=hashlib.sha256(_BLOCK_MAP).hexdigest(),
        )
        yield "manifest_statements", (manifest_id, key.public.key_id, sign(write_payload(stated), key).as_text())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
