"""The servers that the API is measured with, all of them private."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.servers import programs
from tests.servers.glance import Glance
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import Server
from tests.servers.service import Settings, write_config

THREADS = 4
"""Of each server: as many as uWSGI has where the tests run Glance, all in one process."""
_RUN_UWSGI = "import sys; sys.path.append(sys.argv.pop(1)); import pyuwsgi; sys.path.pop(); sys.exit(pyuwsgi.run())"


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of our own. Root runs it as another user, who must be able to reach its folder."""
    with TemporaryDirectory(prefix="manifest-service-bench-") as folder:
        os.chmod(folder, 0o711)
        with PostgreSQL(Path(folder) / "postgresql") as server:
            yield server


def new_database(server: PostgreSQL) -> str:
    """A database with our tables, as SQLAlchemy names it."""
    url = server.create_database()
    database = Database(url)
    schema.upgrade(database)
    database.close()
    return url


def psycopg_url(url: str) -> str:
    """SQLAlchemy's name of a database as psycopg wants it."""
    return url.replace("+psycopg", "")


class KeptAliveGlance(Glance):
    """glance-api on PostgreSQL, without notifications, and with connections that stay open."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(
            folder,
            "fake://",
            settings={"database": {"connection": url}, "oslo_messaging_notifications": {"driver": "noop"}},
        )

    def prepare(self) -> None:
        super().prepare()
        manage: list[str | Path] = [self._venv / "bin" / "glance-manage", "--config-file", self.config_file, "db_sync"]
        with self.log.open("ab") as log:
            subprocess.run(manage, check=True, stdout=log, stderr=log)

    def command(self) -> Sequence[str | Path]:
        return [self._venv / "bin" / "uwsgi", *uwsgi_options(self.port, "glance.wsgi.api:application", self._venv)]


class UwsgiApi(Server):
    """Our application under the same uWSGI with the same options as Glance."""

    name = "uwsgi-api"

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder)
        self._settings = settings
        self._config = folder / "manifest-service.conf"

    def prepare(self) -> None:
        write_config(self._config, self._settings)

    def command(self) -> Sequence[str | Path]:
        # uWSGI as a module of our own Python: it is installed in Glance's environment, and needs nothing else of it.
        (libraries,) = programs.environment("glance").glob("lib/python*/site-packages")
        options = uwsgi_options(self.port, "api.wsgi:application", Path(sys.prefix))
        return [sys.executable, "-c", _RUN_UWSGI, libraries, *options]

    def environment(self) -> Mapping[str, str]:
        return {"MANIFEST_SERVICE_CONFIG_FILES": str(self._config)}

    def ask(self) -> None:
        requests.get(f"http://127.0.0.1:{self.port}/healthcheck", timeout=5).raise_for_status()


def uwsgi_options(port: int, module: str, environment: Path) -> Sequence[str]:
    """As tests/servers/glance.py runs uWSGI, but with its HTTP/1.1 socket, which keeps connections open."""
    return [
        f"--http11-socket=127.0.0.1:{port}",
        f"--module={module}",
        f"--virtualenv={environment}",
        "--master",
        "--processes=1",
        f"--threads={THREADS}",
        "--enable-threads",
        "--lazy-apps",
        "--die-on-term",
        "--need-app",
        "--buffer-size=65535",
        "--socket-timeout=120",
        "--http-chunked-input",
        "--pyargv=",
    ]
