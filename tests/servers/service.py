"""The service under test: our own commands as separate processes, as an operator runs them."""

import sys
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from pathlib import Path
from typing import ClassVar

import requests

from tests.servers.process import Server

EXECUTABLE = Path(sys.executable).with_name("manifest-service")

Settings = Mapping[str, Mapping[str, object]]


def write_config(path: Path, settings: Settings) -> Path:
    """Write a configuration file: section → option → value."""
    parser = RawConfigParser(default_section="")
    parser.read_dict({section: dict(options) for section, options in settings.items()})
    with path.open("w") as file:
        parser.write(file)
    return path


class ServiceProcess(Server):
    """One of our commands that run until they are stopped."""

    arguments: ClassVar[Sequence[str]]

    def __init__(self, folder: Path, settings: Settings, before: Sequence[Path] = ()) -> None:
        """settings: for its manifest-service.conf. before: files that it reads first, Glance's for instance."""
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        api = {**settings.get("api", {}), "listen": f"127.0.0.1:{self.port}"}
        self.config_files = [*before, write_config(folder / "manifest-service.conf", {**settings, "api": api})]

    def prepare(self) -> None:
        """Everything is in its configuration."""

    def command(self) -> Sequence[str | Path]:
        options = [part for file in self.config_files for part in ("--config-file", file)]
        return [EXECUTABLE, *self.arguments, *options]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONUNBUFFERED": "1"}

    def log_text(self) -> str:
        """All that it has logged, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _require_line(self, line: str) -> None:
        if not self._process_said(line):
            raise ConnectionError(f"it has not said {line!r} yet")

    def start(self) -> None:
        if not self.running:
            self._said_before = len(self.log_text())
        super().start()

    def _process_said(self, line: str) -> bool:
        return line in self.log_text()[self._said_before :]


class ListenerProcess(ServiceProcess):
    name = "listener"
    arguments = ("listener",)

    def ask(self) -> None:
        self._require_line("listening for notifications")


class WorkerProcess(ServiceProcess):
    name = "worker"
    arguments = ("worker",)

    def ask(self) -> None:
        self._require_line("waits for images")


class ApiProcess(ServiceProcess):
    name = "api"
    arguments = ("api",)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self) -> None:
        requests.get(f"{self.url}/healthcheck", timeout=60).raise_for_status()


class ServeProcess(ApiProcess):
    name = "serve"
    arguments = ("serve",)
