"""Export and import of many manifests: how fast, and in how much memory. `python -m tests.bench.exporting [COUNT…]`.

PostgreSQL and everything else run on this machine. Figures are of whole processes, their start included; CPU time is
theirs alone, without PostgreSQL's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from manifest_service.attestations.keys import load_private_key
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.bench import api_data
from tests.servers.postgresql import PostgreSQL
from tests.servers.service import EXECUTABLE, ApiProcess, write_config

COUNTS = (10_000, 100_000, 1_000_000)
LARGEST_IMPORT = 100_000
SIGNED = 50_000
"""Manifests of the runs with statements: each is verified, which takes longer than all the rest."""

_FILL = """
CREATE TEMPORARY TABLE made AS
SELECT n, md5('image' || n)::uuid::text AS image_id, now() AT TIME ZONE 'utc' AS at
FROM generate_series(1, %s) AS n;
INSERT INTO images (id, image_id, cache_name, name, owner, visibility, disk_format, container_format, size, checksums,
    glance_status, observed_order, current_revision, status, first_seen_at, changed_at, version)
SELECT n, image_id, left(encode(sha256(image_id::bytea), 'hex'), 40), 'image ' || n, md5(''), 'shared', 'qcow2', 'bare',
    n, '{"md5": "d077c61681203ae001b4ebc4ddd38a4e"}', 'active', '', 1, 'ready', at, at, 1 FROM made ORDER BY n;
INSERT INTO manifests (id, image_id, revision, status, expected_size, expected_checksums, disk_format, virtual_size,
    source_size, source_checksums, warnings, created_at, updated_at, computed_at, computed_by)
SELECT n, image_id, 1, 'ready', n, '{}', 'qcow2', n * 512, n, '{"md5": "d077c61681203ae001b4ebc4ddd38a4e"}', '[]',
    at, at, at, 'a benchmark' FROM made ORDER BY n;
INSERT INTO manifest_digests (manifest_id, algorithm, value)
SELECT n, algorithm, encode(sha256((algorithm || n)::bytea), 'hex')
FROM made, unnest(ARRAY['sha256', 'fsverity-sha256']) AS algorithm ORDER BY n;
"""


@dataclass(frozen=True)
class Run:
    """seconds: of the wall's clock. cpu: seconds of it. memory: MiB at its peak. lines: of what it wrote."""

    seconds: float
    cpu: float
    memory: float
    lines: int


def main(counts: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="manifest-service-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        os.chmod(folder, 0o711)
        with PostgreSQL(folder / "postgresql") as server:
            print("| manifests | what | lines/s | CPU, µs a line | peak memory, MiB |\n|---|---|---|---|---|")
            for count in counts:
                measure_unsigned(server, folder, count)
            measure_signed(server, folder)


def measure_unsigned(server: PostgreSQL, folder: Path, count: int) -> None:
    url, database = new_database(server)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in _FILL.split(";\n")[:-1]:
            connection.execute(statement.replace("%s", str(count)))
        connection.execute("VACUUM ANALYZE")
    config, out = config_of(folder / "first.conf", url), folder / "out"
    tell(count, "export, csv", run(["export", "--format", "csv", "--config-file", config], out))
    tell(count, "GET /v1/export, csv", ask(folder / f"api-{count}", url, out))
    tell(count, "export, jsonl", run(["export", "--config-file", config], out))
    if count <= LARGEST_IMPORT:
        import_into_another(server, folder, count, "unsigned", ["--unsigned"])
    forget(server, url, database)


def measure_signed(server: PostgreSQL, folder: Path) -> None:
    url, database = new_database(server)
    key_file = folder / "private.pem"
    api_data.fill(url.replace("+psycopg", ""), 1, SIGNED, key_file)
    (folder / "key.pem").write_text(load_private_key(key_file).public.pem)
    config = config_of(folder / "first.conf", url)
    tell(SIGNED, "export, jsonl, signed", run(["export", "--config-file", config], folder / "out"))
    import_into_another(server, folder, SIGNED, "signed", ["--trusted-key", str(folder / "key.pem")])
    forget(server, url, database)


def ask(folder: Path, url: str, out: Path) -> Run:
    """Export from an API, and look at its process."""
    with ApiProcess(folder, {"database": {"connection": url}}) as api:
        cpu, began = cpu_of(api.pid), time.monotonic()
        subprocess.run(["curl", "-sSf", "-o", out, f"{api.url}/v1/export?format=csv"], check=True)
        return Run(time.monotonic() - began, cpu_of(api.pid) - cpu, peak_of(api.pid), lines_of(out))


def import_into_another(server: PostgreSQL, folder: Path, count: int, kind: str, options: Sequence[str]) -> None:
    """Import what lies in `out` twice: at first all is new, then nothing."""
    url, database = new_database(server)
    command = ["import", str(folder / "out"), *options, "--config-file", config_of(folder / "second.conf", url)]
    for what in ("new", "known"):
        done = run(command, folder / "told")
        tell(count, f"import, {kind}, all {what}", replace(done, lines=lines_of(folder / "out")))
    forget(server, url, database)


def run(arguments: Sequence[str], out: Path) -> Run:
    """Run a command of ours."""
    began = time.monotonic()
    with out.open("wb") as file:
        process = subprocess.Popen([EXECUTABLE, *arguments], stdout=file, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(time.monotonic() - began, cpu, usage.ru_maxrss / 1024, lines_of(out))


def tell(count: int, what: str, done: Run) -> None:
    pace, cpu = done.lines / done.seconds, done.cpu / done.lines * 1e6
    print(f"| {count:,} | {what} | {pace:,.0f} | {cpu:.0f} | {done.memory:.0f} |", flush=True)


def lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def peak_of(pid: int) -> float:
    """MiB that a process had at its peak so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def cpu_of(pid: int) -> float:
    """Seconds of CPU time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def new_database(server: PostgreSQL) -> tuple[str, Database]:
    url = server.create_database()
    database = Database(url)
    schema.upgrade(database)
    return url, database


def config_of(path: Path, url: str) -> str:
    return str(write_config(path, {"database": {"connection": url}}))


def forget(server: PostgreSQL, url: str, database: Database) -> None:
    database.close()
    server.drop(url)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or COUNTS)
