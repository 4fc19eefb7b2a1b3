"""How long each revision of the schema holds others up: `python -m tests.bench.upgrading`.

A database of the first revision gets 100,000 rows in each table, and is upgraded a revision at a time while somebody
writes; the longest that a write has waited is printed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import insert, update

from manifest_service.manifests.database import Database
from tests.bench.api_servers import postgresql
from tests.manifests.any_schema import REVISIONS, row_of, tables_of, upgrade_to
from tests.servers.mariadb import MariaDB

ROWS = 100_000
AT_ONCE = 5_000


def main() -> None:
    """Measure on PostgreSQL and on MariaDB."""
    with postgresql() as server:
        _measure("PostgreSQL", server.create_database())
    with TemporaryDirectory(prefix="manifest-service-bench-") as folder, MariaDB(Path(folder) / "mariadb") as mariadb:
        _measure("MariaDB", mariadb.create_database())


def _measure(name: str, url: str) -> None:
    database = Database(url)
    upgrade_to(database, REVISIONS[0])
    filled: set[str] = set()
    for revision in REVISIONS[1:]:
        _fill_new_tables(database, filled)
        begin = time.monotonic()
        with _writing(url) as waits:
            upgrade_to(database, revision)
            took = time.monotonic() - begin
        sys.stdout.write(f"{name} {revision}: {took:.1f} s, longest wait of a write {max(waits, default=0):.1f} s\n")
        sys.stdout.flush()
    database.close()


def _fill_new_tables(database: Database, filled: set[str]) -> None:
    new = [table for table in tables_of(database) if table.name not in filled]
    for table in new:
        for first in range(0, ROWS, AT_ONCE):
            with database.engine.begin() as connection:
                connection.execute(insert(table), [row_of(table, n) for n in range(first, first + AT_ONCE)])
        filled.add(table.name)


@contextmanager
def _writing(url: str) -> Iterator[list[float]]:
    """Change an image's row all the time; gives the seconds that each change took."""
    database = Database(url)
    images = next(table for table in tables_of(database) if table.name == "images")
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            begin = time.monotonic()
            change = update(images).where(images.c.id == len(waits) + 1).values(version=2)
            database.transaction(lambda session: session.execute(change))  # noqa: B023
            waits.append(time.monotonic() - begin)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield waits
    finally:
        over.set()
        writer.join()
        database.close()


if __name__ == "__main__":
    main()
