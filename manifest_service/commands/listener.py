"""`manifest-service listener`: take in Glance's notifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from oslo_config import cfg

from manifest_service.commands.configuration import Configuration
from manifest_service.commands.metrics_server import ServedMetrics
from manifest_service.commands.running import Part
from manifest_service.commands.supervising import supervise
from manifest_service.commands.wiring import config_option, opened_database, processes_option
from manifest_service.processing.presence import Presence
from notifications.listener import Listener


@click.command("listener")
@config_option
@processes_option
def command(config_files: Sequence[str], processes: int | None) -> None:
    """Listen for Glance's notifications and queue what they announce. Run any number, on any number of hosts."""
    overrides = [] if processes is None else [("listener", "processes", processes)]
    configuration = Configuration.read(config_files, overrides)
    for process in range(configuration.conf.listener.processes):
        _served(configuration.conf, process).require_free()
    supervise(configuration, "listener", _make_parts)


def _served(conf: cfg.ConfigOpts, process: int) -> ServedMetrics:
    section = conf.listener
    return ServedMetrics(section.metrics_listen, "[listener] metrics_listen", process, section.processes)


@contextmanager
def _make_parts(conf: cfg.ConfigOpts, process: int) -> Iterator[Sequence[Part]]:
    served = _served(conf, process)
    with opened_database(conf) as database:
        listener = Listener(conf, database)
        yield [served, listener, Presence(database, "listener", {"listener": listener.look})]
