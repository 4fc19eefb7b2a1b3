"""A private MariaDB server."""

import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from getpass import getuser
from pathlib import Path

import pymysql

from tests.servers.process import Server
from tests.servers.programs import find


class MariaDB(Server):
    """One server; `create_database` gives each test a database of its own."""

    name = "mariadb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(8)
        self._install = find("mariadb-install-db", "mariadb-server")
        self._server = find("mariadbd", "mariadb-server")
        self._data = folder / "data"

    def prepare(self) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                [self._install, "--no-defaults", f"--datadir={self._data}", "--skip-test-db", f"--user={getuser()}"],
                check=True,
                stdout=log,
                stderr=log,
            )
        # Run at every start. Nobody else on the machine may enter: root of a database can write files as its user.
        (self.folder / "init.sql").write_text(
            f"CREATE OR REPLACE USER tests@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO tests@'127.0.0.1';\n"
        )

    def command(self) -> Sequence[str | Path]:
        return [
            self._server,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--user={getuser()}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self._data}/socket",
            f"--pid-file={self._data}/pid",
            f"--init-file={self.folder}/init.sql",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=2",  # a killed server loses nothing by it, a machine without power would
        ]

    def ask(self) -> None:
        self._connect().close()

    def create_database(self) -> str:
        """An empty database, as SQLAlchemy names it."""
        name = f"test_{secrets.token_hex(8)}"
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return f"mysql+pymysql://tests:{self.password}@127.0.0.1:{self.port}/{name}?charset=utf8mb4"

    def drop(self, url: str) -> None:
        """Remove a database that `create_database` made, and cut off who is still connected: DROP waits for them."""
        name = url.rpartition("/")[2].partition("?")[0]
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
            for (number,) in cursor.fetchall():
                with suppress(pymysql.err.OperationalError):  # it left by itself
                    cursor.execute("KILL %s", (number,))
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def _connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="tests", password=self.password, connect_timeout=30
        )
