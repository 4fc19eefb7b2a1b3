"""`manifest-service api`: serve the HTTP API."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import click
from oslo_config import cfg
from oslo_log import log
from oslo_service import systemd

from api.app import create_app
from api.server import ApiServer, parse_listen, require_safe_listen
from manifest_service.commands.configuration import Configuration, reload_log_levels
from manifest_service.commands.expecting import expectations
from manifest_service.commands.running import Signals, running
from manifest_service.commands.wiring import begin_to_log, config_option, open_database
from manifest_service.manifests.database import Database
from manifest_service.processing.presence import Presence

LOG = log.getLogger(__name__)


class ServedApi:
    """The API on its socket, in a thread of its own."""

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        """Bind the socket of [api] listen. Raises UsageError where that may not or cannot be."""
        require_safe_listen(conf)
        host, port = parse_listen(conf.api.listen)
        self._server = ApiServer(
            create_app(conf, database, expectations(conf)),
            host,
            port,
            threads=conf.api.threads,
            backlog=conf.api.backlog,
            connection_limit=conf.api.connections,
        )
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"
        self._thread = threading.Thread(target=self._server.run, name="api")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        LOG.info("the API answers at %s", self.url)

    def look(self) -> dict[str, object]:
        """How it is: where it answers."""
        return {"url": self.url}

    def stop(self) -> None:
        """Finish the requests under way, and close."""
        self._server.stop()
        self._thread.join()


@click.command("api")
@config_option
def command(config_files: Sequence[str]) -> None:
    """Serve the HTTP API. Run any number, on any number of hosts."""
    configuration = Configuration.read(config_files)
    conf = configuration.conf
    begin_to_log(conf)
    database = open_database(conf, conf.api.statement_time)
    served = ServedApi(conf, database)
    signals = Signals(partial(reload_log_levels, configuration))
    with running([served, Presence(database, "api", {"api": served.look})]):
        systemd.notify_once()
        signals.wait()
