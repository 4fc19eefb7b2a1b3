"""A private PostgreSQL server."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.process import Server
from tests.servers.programs import find
from tests.waiting import eventually

_INITDB = "/usr/lib/postgresql/*/bin/initdb"  # Debian keeps them out of PATH, a folder for each major version


class PostgreSQL(Server):
    """One server; `create_database` gives each test a database of its own.

    PostgreSQL refuses to run as root, so root runs it as the user `postgres`, who must be able to reach the folder.
    """

    name = "postgresql"
    stop_signal = signal.SIGINT  # "fast" shutdown; SIGTERM would wait for clients to leave

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(8)
        self._programs = find("initdb", "postgresql", _INITDB).parent
        self._data = folder / "data"

    def user(self) -> str | None:
        return "postgres" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if user := self.user():
            for path in (self.folder, password_file):
                shutil.chown(path, user)
        with self.log.open("ab") as log:
            subprocess.run(
                [
                    self._programs / "initdb",
                    f"--pgdata={self._data}",
                    "--username=postgres",
                    "--auth=scram-sha-256",
                    f"--pwfile={password_file}",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                ],
                check=True,
                cwd=self.folder,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                stdout=log,
                stderr=log,
            )

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # a killed server loses nothing by it, only a machine without power would
            "dynamic_shared_memory_type": "mmap",  # in the data folder, so that SIGKILL leaves nothing in /dev/shm
            "max_connections": "200",
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        return [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *arguments]

    def ask(self) -> None:
        self._connect().close()

    def create_database(self) -> str:
        """An empty database, as SQLAlchemy names it."""
        name = f"test_{secrets.token_hex(8)}"
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        """Remove a database that `create_database` made, and cut off who is still connected."""
        name = url.rpartition("/")[2]
        eventually(lambda: self._is_dropped(name))

    def _is_dropped(self, name: str) -> bool:
        with self._connect() as connection:
            try:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            except psycopg.errors.ObjectInUse:  # It gives those who are cut off five seconds.
                return False
        return True

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=30,
        )
