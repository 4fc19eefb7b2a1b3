"""A backup, as docs/backup.md makes it, restored into an empty database: all is there, and the signatures hold."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import make_url

from manifest_service.attestations.keys import PublicKey
from manifest_service.manifests import audit, schema
from manifest_service.manifests.database import Database
from tests.builders import new_key
from tests.manifests.filling import fill
from tests.servers import programs
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

IMAGES = 20
pytestmark = pytest.mark.slow


@pytest.fixture
def trusted(database: Database) -> Sequence[PublicKey]:
    """The key that the database's manifests are signed with."""
    key = new_key()
    fill(database, 0, IMAGES, key)
    return [key.public]


def restored(url: str, trusted: Sequence[PublicKey]) -> None:
    """See that a restored database is one that the service runs with, and that an auditor finds nothing."""
    database = Database(url)
    schema.require_current(database)
    part = database.transaction(lambda session: audit.audit_part(session, trusted, 0, 10 * IMAGES))
    assert (part.seen, part.findings) == (IMAGES, ())
    database.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite(database_url: str, trusted: Sequence[PublicKey], tmp_path: Path) -> None:
    path = database_url.removeprefix("sqlite:///")

    _run(programs.find("sqlite3", "sqlite3"), path, f".backup {tmp_path}/backup.sqlite")

    restored(f"sqlite:///{tmp_path}/backup.sqlite", trusted)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.servers
def test_postgresql(database_url: str, trusted: Sequence[PublicKey], postgresql: PostgreSQL, tmp_path: Path) -> None:
    empty = postgresql.create_database()
    pg_dump, pg_restore = (
        programs.find(name, "postgresql", f"/usr/lib/postgresql/*/bin/{name}") for name in ("pg_dump", "pg_restore")
    )

    _run(pg_dump, "--format=custom", f"--file={tmp_path}/backup", _libpq(database_url))
    options = ["--exit-on-error", "--no-owner", "--single-transaction", f"--dbname={_libpq(empty)}"]
    _run(pg_restore, *options, tmp_path / "backup")

    restored(empty, trusted)
    postgresql.drop(empty)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.servers
def test_mariadb(database_url: str, trusted: Sequence[PublicKey], mariadb: MariaDB, tmp_path: Path) -> None:
    empty = mariadb.create_database()

    dump = _run(programs.find("mariadb-dump", "mariadb-client"), "--single-transaction", *_mariadb(database_url))
    _run(programs.find("mariadb", "mariadb-client"), *_mariadb(empty), stdin=dump)

    restored(empty, trusted)
    mariadb.drop(empty)


def _libpq(url: str) -> str:
    return url.replace("+psycopg", "")


def _mariadb(url: str) -> list[str]:
    parts = make_url(url)
    return [
        f"--host={parts.host}",
        f"--port={parts.port}",
        f"--user={parts.username}",
        f"--password={parts.password}",
        "--default-character-set=utf8mb4",
        str(parts.database),
    ]


def _run(*command: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
