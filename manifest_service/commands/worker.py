"""`manifest-service worker`: compute manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from oslo_config import cfg

from manifest_service.commands.configuration import Configuration
from manifest_service.commands.duty_wiring import make_duties
from manifest_service.commands.metrics_server import ServedMetrics
from manifest_service.commands.running import Part
from manifest_service.commands.supervising import supervise
from manifest_service.commands.wiring import config_option, make_worker_pool, opened_database, processes_option
from manifest_service.images.stores import ImageStores
from manifest_service.processing.presence import Presence


@click.command("worker")
@config_option
@processes_option
def command(config_files: Sequence[str], processes: int | None) -> None:
    """Take images from the queue and compute their manifests. Run any number, on any number of hosts.

    One of them reconciles with Glance and reads sources again, as [reconcile] and [scrub] say.
    """
    overrides = [] if processes is None else [("worker", "processes", processes)]
    configuration = Configuration.read(config_files, overrides)
    for process in range(configuration.conf.worker.processes):
        _served(configuration.conf, process).require_free()
    supervise(configuration, "worker", _make_parts)


def _served(conf: cfg.ConfigOpts, process: int) -> ServedMetrics:
    section = conf.worker
    return ServedMetrics(section.metrics_listen, "[worker] metrics_listen", process, section.processes)


@contextmanager
def _make_parts(conf: cfg.ConfigOpts, process: int) -> Iterator[Sequence[Part]]:
    served = _served(conf, process)
    with opened_database(conf) as database:
        stores = ImageStores(conf)
        pool = make_worker_pool(conf, database, stores, process=process, patience=conf.graceful_shutdown_timeout)
        presence = Presence(database, "worker", {"worker": pool.look})
        # What is last is stopped first: an image that is under way must not wait for what a duty waits for, and its
        # process is listed until it has come to its end.
        yield [served, make_duties(conf, database, stores), presence, pool]
