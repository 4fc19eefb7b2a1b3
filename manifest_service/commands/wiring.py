"""Putting the parts of the service together from a configuration: the one place that knows core and doors."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from oslo_config import cfg
from oslo_log import log

from manifest_service import __version__, config, logs
from manifest_service.attestations.keys import PrivateKey, load_private_key
from manifest_service.digests import algorithms
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.errors import BundleCode, ManifestServiceError, UsageError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.options.processes import MOST_PROCESSES
from manifest_service.processing import metrics
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


def processes_option(function: Function) -> Function:
    """Give a command `--processes`."""
    return click.option(
        "--processes",
        type=click.IntRange(1, MOST_PROCESSES),
        metavar="N",
        help="Processes to run, under one that starts them anew when they die; by default as the configuration says.",
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
    logs.set_up(conf)


def open_database(conf: cfg.ConfigOpts, statement_time: float | None = None) -> Database:
    """Connect to the database and see that its schema is current; one that goes away in between is asked again.

    statement_time: seconds that one statement may take; None where it may take any. Raises UsageError.
    """
    for attempt in itertools.count():
        database = connect_database(conf, statement_time)
        try:
            schema.require_current(database)
        except DatabaseAway as error:
            database.close()
            if attempt == conf.database.max_retries:
                raise _away(error) from error
            LOG.warning("the database went away, asking again in %d seconds: %s", conf.database.retry_interval, error)
            time.sleep(conf.database.retry_interval)
        else:
            return database
    raise AssertionError("there is no end of attempts")


@contextmanager
def opened_database(conf: cfg.ConfigOpts) -> Iterator[Database]:
    """A database whose schema is current, closed at the end. Raises UsageError."""
    database = open_database(conf)
    try:
        yield database
    finally:
        database.close()


def connect_database(conf: cfg.ConfigOpts, statement_time: float | None = None) -> Database:
    """Connect to the database, whatever its schema. Raises UsageError where nothing answers."""
    section = conf.database
    try:
        return Database(
            section.connection,
            connect_retries=section.max_retries,
            retry_interval=section.retry_interval,
            statement_time=statement_time,
        )
    except DatabaseAway as error:
        raise _away(error) from error


def _away(error: DatabaseAway) -> UsageError:
    return UsageError("database-away", f"the database of [database] connection does not answer: {error}")


@contextmanager
def needing_database() -> Iterator[None]:
    """Say it in a sentence where the database goes away while a command uses it."""
    try:
        yield
    except DatabaseAway as error:
        raise ManifestServiceError(BundleCode.DATABASE_AWAY, f"the database went away: {error}") from error


def make_worker_pool(
    conf: cfg.ConfigOpts, database: Database, stores: ImageStores, *, process: int = 0, patience: float = 0.0
) -> WorkerPool:
    """The workers of one process, as [worker], [digests], [limits] and [attestations] say. Raises UsageError.

    process: its number among those of one supervisor. patience: seconds that images under way are given at the end.
    """
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
    small_only = _small_only(conf, process)
    return WorkerPool(
        [
            Worker(database, stores, settings, __version__, number, signer=signer, small_only=number < small_only)
            for number in range(conf.worker.concurrency)
        ],
        None if signer is None else signer.public.key_id,
        patience,
    )


def _small_only(conf: cfg.ConfigOpts, process: int) -> int:
    """How many workers of a process leave large images to others: one of several, be they in one process or in many."""
    section = conf.worker
    if section.small_only is not None:
        return int(section.small_only)
    if section.concurrency > 1:
        return 1
    return 1 if section.processes > 1 and process == 0 else 0


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
    metrics.watch_scratch(folder)
    return str(folder)
