"""Putting the parts of the service together from a configuration: the one place that knows core and doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from oslo_config import cfg
from oslo_log import log

from manifest_service import __version__, config
from manifest_service.attestations.keys import PrivateKey, load_private_key
from manifest_service.digests import algorithms
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.errors import BundleCode, ManifestServiceError, UsageError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.processing.computation import ComputationSettings
from manifest_service.processing.pool import WorkerPool
from manifest_service.processing.worker import Worker, WorkerSettings

LOG = log.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


def config_option(function: Function) -> Function:
    """Give a command `--config-file`, which may stand before or behind the command's name."""

    def merge(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
        return (*(context.obj or ()), *value)

    return click.option(
        "--config-file",
        "config_files",
        multiple=True,
        metavar="FILE",
        callback=merge,
        help="Configuration; repeat it, later files win. Name glance-api.conf first to take over its stores.",
    )(function)


def load_config(config_files: Sequence[str]) -> cfg.ConfigOpts:
    """Read the configuration and begin to log as it says. Raises UsageError."""
    conf = config.load(config_files)
    begin_to_log(conf)
    return conf


def begin_to_log(conf: cfg.ConfigOpts) -> None:
    """Log where the configuration says; by default to stderr, since results go to stdout."""
    if not (conf.log_file or conf.log_dir):
        conf.set_default("use_stderr", True)
    log.setup(conf, config.PROJECT)


def open_database(conf: cfg.ConfigOpts) -> Database:
    """Connect to the database and see that its schema is current. Raises UsageError."""
    database = connect_database(conf)
    schema.require_current(database)
    return database


def connect_database(conf: cfg.ConfigOpts) -> Database:
    """Connect to the database, whatever its schema. Raises UsageError where nothing answers."""
    section = conf.database
    try:
        return Database(section.connection, connect_retries=section.max_retries, retry_interval=section.retry_interval)
    except DatabaseAway as error:
        raise UsageError("database-away", f"the database of [database] connection does not answer: {error}") from error


@contextmanager
def needing_database() -> Iterator[None]:
    """Say it in a sentence where the database goes away while a command uses it."""
    try:
        yield
    except DatabaseAway as error:
        raise ManifestServiceError(BundleCode.DATABASE_AWAY, f"the database went away: {error}") from error


def make_worker_pool(conf: cfg.ConfigOpts, database: Database, stores: ImageStores) -> WorkerPool:
    """The workers of one process, as [worker], [digests], [limits] and [attestations] say. Raises UsageError."""
    settings = WorkerSettings(
        poll_interval=conf.worker.poll_interval,
        lease=conf.worker.lease,
        max_attempts=conf.worker.max_attempts,
        retry_delay=conf.worker.retry_delay,
        computation=ComputationSettings(
            algorithms=_algorithms(conf),
            limits=replace(
                DEFAULT_LIMITS,
                virtual_size=conf.limits.virtual_size,
                conversion_memory=conf.limits.conversion_memory,
                conversion_time=conf.limits.conversion_time,
                scratch_size=conf.limits.scratch_size,
            ),
            time_limit=conf.limits.computation_time,
            scratch_folder=_scratch_folder(conf),
            block_map_ranges=conf.digests.block_map_ranges,
            flat_virtual_size=conf.digests.flat_virtual_size,
        ),
    )
    signer = load_signer(conf)
    if signer is None:
        LOG.warning("no [attestations] signing_key is set: manifests will have no signed statements")
    concurrency = conf.worker.concurrency
    small_only = min(concurrency - 1, 1) if conf.worker.small_only is None else conf.worker.small_only
    return WorkerPool(
        [
            Worker(database, stores, settings, __version__, number, signer=signer, small_only=number < small_only)
            for number in range(concurrency)
        ]
    )


def load_signer(conf: cfg.ConfigOpts) -> PrivateKey | None:
    """The key of [attestations] signing_key; None where none is set. Raises UsageError."""
    path = conf.attestations.signing_key
    return load_private_key(Path(path)) if path else None


def _algorithms(conf: cfg.ConfigOpts) -> Sequence[str]:
    names = algorithms.check(conf.digests.algorithms)
    if not names:
        raise UsageError("no-algorithm", "[digests] algorithms is empty; sha256 is the usual one")
    if conf.digests.flat_virtual_size is not None and not set(names) & set(algorithms.sparse()):
        raise UsageError(
            "no-algorithm",
            "[digests] flat_virtual_size leaves larger disks without any digest: [digests] algorithms has only flat"
            f" ones; add one of {', '.join(algorithms.sparse())}",
        )
    return names


def _scratch_folder(conf: cfg.ConfigOpts) -> str:
    folder = config.scratch_folder(conf)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            "bad-configuration", f"the folder of [DEFAULT] scratch_path cannot be made: {error.strerror}"
        ) from error
    return str(folder)
