"""All options of the service, in oslo.config's form; `etc/manifest-service.conf.sample` is generated from here.

The sections of glance_store, oslo.messaging, oslo.db and oslo.log are registered by those libraries, so that a
glance-api.conf can be read unchanged beside our own file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg, types
from oslo_db import options as db_options
from oslo_log import log

from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.errors import UsageError
from manifest_service.options.api import API_OPTS
from manifest_service.options.duties import RECONCILE_OPTS, SCRUB_OPTS
from manifest_service.options.metrics import METRICS_LISTEN_OPT
from manifest_service.options.processes import LISTENER_PROCESSES_OPTS, SHUTDOWN_OPTS, WORKER_PROCESSES_OPTS
from manifest_service.options.stores import GLANCE_OPTS, STORE_LIMITS_OPTS, list_keystone_options
from manifest_service.state_folder import SYSTEM_WIDE, state_folder

PROJECT = "manifest-service"

# glance_store loads every driver for its options, and each whose library is missing would be an error in the log.
# oslo.db logs each error that it translates, with a traceback; those who catch it log what it means.
# The libraries of stores would log, when asked for much, the locations and headers that hold credentials.
QUIET = [
    "stevedore=CRITICAL",
    "alembic=WARN",
    "oslo_db.sqlalchemy.exc_filters=CRITICAL",
    "glance_store=WARN",
    "botocore=WARN",
    "boto3=WARN",
    "swiftclient=CRITICAL",
    "keystoneauth=WARN",
    "urllib3=WARN",
    "waitress.queue=ERROR",  # a line for each request that waits
]


DEFAULT_OPTS = [
    cfg.StrOpt(
        "state_path",
        default=str(state_folder()),
        sample_default=SYSTEM_WIDE,
        help="Folder of the embedded default: the SQLite database, and the file store where none is configured. Unless"
        " it is said, what systemd's StateDirectory= names, else manifest-service in the user's state folder.",
    ),
    cfg.StrOpt(
        "scratch_path",
        help="Folder where workers convert images that are neither qcow2 nor raw, and keep sources that a store gives"
        " only in order while the image needs another one; by default `scratch` in state_path. A converted disk takes"
        " as much room as it has data, a source as it has bytes; both are gone at the end of the computation.",
    ),
    *SHUTDOWN_OPTS,
    cfg.DictOpt(
        "enabled_backends",
        default={},
        help="Glance's own option, `name:type` pairs, read from glance-api.conf. Empty means the single-store form,"
        " `[glance_store] stores`.",
    ),
]

LISTENER_OPTS = [
    METRICS_LISTEN_OPT,
    *LISTENER_PROCESSES_OPTS,
    cfg.ListOpt("topics", default=["notifications"], help="Notification topics that Glance publishes to."),
    cfg.StrOpt(
        "pool",
        default=PROJECT,
        help="Name of our pool of listeners. RabbitMQ keeps one queue of this name: listeners share its messages, and"
        " take none from Ceilometer or others. Empty means no pool, which does take them.",
    ),
    cfg.StrOpt("exchange", default="glance", help="Glance's control_exchange."),
    cfg.IntOpt(
        "prefetch",
        default=64,
        min=1,
        max=10000,
        help="Unacknowledged messages that one listener may hold. RabbitMQ's own default is all of them.",
    ),
    cfg.FloatOpt(
        "requeue_delay",
        default=5.0,
        min=0.0,
        max=300.0,
        help="Seconds that a message waits, unacknowledged, before it goes back to the broker while the database is"
        " away. The broker hands it out again at once, so this is what keeps it from spinning.",
    ),
]

WORKER_OPTS = [
    METRICS_LISTEN_OPT,
    *WORKER_PROCESSES_OPTS,
    cfg.IntOpt(
        "concurrency",
        default=1,
        min=1,
        max=64,
        help="Images that one worker process computes at a time. Each takes about two cores.",
    ),
    cfg.IntOpt(
        "small_only",
        min=0,
        max=64,
        help="How many of them leave large images (2 GiB and more) to others, so that a small one need not wait for a"
        " large one to end. Unset means one of each process where concurrency is 2 or more, else one of all where"
        " processes is; some worker must take large ones. Of several commands with one worker each, set it to 1 for"
        " one.",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=0.25,
        min=0.05,
        max=60.0,
        help="Seconds between looks at an empty queue, which an image may wait. A look takes two to three milliseconds"
        " of the worker's and the database's processors together.",
    ),
    cfg.FloatOpt(
        "lease",
        default=60.0,
        min=1.0,
        max=3600.0,
        help="Seconds after which the image of a worker that stopped renewing goes to another. It is renewed every"
        " third of that.",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=8,
        min=1,
        max=1000,
        help="Attempts at an image before it is `failed`, those that killed their worker included.",
    ),
    cfg.FloatOpt(
        "retry_delay",
        default=5.0,
        min=0.0,
        max=3600.0,
        help="Seconds before the second attempt; doubled for each further one, one hour at most.",
    ),
]

DIGESTS_OPTS = [
    cfg.ListOpt(
        "algorithms",
        default=["sha256", "fsverity-sha256"],
        item_type=types.String(),
        help="Digests computed of each disk, all in one pass; the API's text form gives the first. Flat ones hash every"
        " byte: sha256, sha512, blake3, md5 and others of hashlib. The work for sparse ones grows with the data only:"
        " fsverity-sha256, blkhash-sha256. Each takes a thread; two of them take little more time than one where there"
        " are two cores.",
    ),
    cfg.IntOpt(
        "flat_virtual_size",
        min=0,
        help="Bytes of the largest disk that flat digests are computed of. Above it they are left out, and the manifest"
        " says so: SHA-256 needs about ten minutes for each TiB, zeros included. Unset means that they are never left"
        " out; at least one sparse digest must be configured otherwise.",
    ),
    cfg.IntOpt(
        "block_map_ranges",
        default=131072,
        min=0,
        max=1048576,
        help="Ranges of the largest block map (bmap) that is kept; 0 keeps none. A range is 4 MiB at most, so that the"
        " default maps 512 GiB of contiguous data, in a document of about 14 MB, compressed to 5.",
    ),
]

ATTESTATIONS_OPTS = [
    cfg.StrOpt(
        "signing_key",
        help="File with the Ed25519 private key (PEM) that workers sign their manifests' statements with; it belongs to"
        " their user or to root, and its mode is 0600 or 0400. `manifest-service keys generate FILE` makes one; another"
        " file here is all that a rotation takes. Unset means that no statements are made, except by `serve`, which"
        " then makes a key of its own in state_path.",
    ),
]

LIMITS_OPTS = [
    cfg.IntOpt(
        "conversion_memory",
        default=DEFAULT_LIMITS.conversion_memory,
        min=256 << 20,
        help="Bytes of address space that one qemu-img may take which converts a format other than qcow2 and raw. Nova"
        " gives it as much.",
    ),
    cfg.IntOpt(
        "conversion_time",
        default=DEFAULT_LIMITS.conversion_time,
        min=1,
        help="Seconds of CPU time that one qemu-img may take. A hostile image could keep it busy forever.",
    ),
    cfg.IntOpt(
        "scratch_size",
        default=DEFAULT_LIMITS.scratch_size,
        min=1 << 20,
        help="Bytes that one conversion may write to scratch_path, and of the largest source that is spooled there. A"
        " small file can expand to terabytes.",
    ),
    cfg.IntOpt(
        "virtual_size",
        default=DEFAULT_LIMITS.virtual_size,
        min=512,
        help="Bytes of the largest disk that is computed; larger ones are refused. A tiny file can claim exabytes, and"
        " each byte must be hashed.",
    ),
    cfg.FloatOpt(
        "computation_time",
        default=6 * 3600.0,
        min=1.0,
        help="Seconds that one attempt at an image may take before it counts as failed.",
    ),
    *STORE_LIMITS_OPTS,
]

GROUPS: dict[str, list[Any]] = {
    "DEFAULT": DEFAULT_OPTS,
    "listener": LISTENER_OPTS,
    "worker": WORKER_OPTS,
    "api": API_OPTS,
    "digests": DIGESTS_OPTS,
    "attestations": ATTESTATIONS_OPTS,
    "glance": GLANCE_OPTS,
    "limits": LIMITS_OPTS,
    "reconcile": RECONCILE_OPTS,
    "scrub": SCRUB_OPTS,
}


def list_options() -> list[tuple[str, list[Any]]]:
    """Our own options by group, and those of [glance] that keystoneauth1 has, for oslo-config-generator."""
    return [*((group, list(options)) for group, options in GROUPS.items()), ("glance", list_keystone_options())]


def load(config_files: Sequence[str] = (), overrides: Iterable[tuple[str, str, Any]] = ()) -> cfg.ConfigOpts:
    """Read the configuration.

    config_files: paths in order, later ones win; empty means oslo.config's usual places
        (/etc/manifest-service/manifest-service.conf and the like), or none at all: the embedded default.
    overrides: (group, option, value) that stand above all files: what the command line says.
    Raises UsageError for a file that is missing or cannot be parsed, or a value out of its bounds.
    """
    for file in config_files:
        if not Path(file).is_file():
            raise UsageError("bad-configuration", f"the configuration file {file!r} is not there, or is no file")
    conf = cfg.ConfigOpts()
    for group, options in GROUPS.items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *QUIET])
    db_options.set_defaults(conf)
    try:
        conf(
            args=[],
            project=PROJECT,
            default_config_files=list(config_files) or cfg.find_config_files(project=PROJECT),
            default_config_dirs=[],
        )
        for group, option, value in overrides:
            conf.set_override(option, value, group=None if group == "DEFAULT" else group)
        _read_every_option(conf)
    except (cfg.Error, ValueError, OSError) as error:
        raise UsageError("bad-configuration", f"the configuration cannot be used: {error}") from error
    if conf.database.connection is None:
        conf.set_default("connection", f"sqlite:///{conf.state_path}/manifests.sqlite", group="database")
    return conf


def _read_every_option(conf: cfg.ConfigOpts) -> None:
    """Have oslo.config parse each of our values now: it checks them only when they are first read."""
    for group, options in GROUPS.items():
        section = conf if group == "DEFAULT" else conf[group]
        for option in options:
            value = getattr(section, option.dest)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"[{group}] {option.dest} is {value}; a number was expected")


def scratch_folder(conf: cfg.ConfigOpts) -> Path:
    """The folder of [DEFAULT] scratch_path, which may not be there yet."""
    return Path(conf.scratch_path or Path(conf.state_path) / "scratch")


def is_configured(conf: cfg.ConfigOpts, group: str, *options: str) -> bool:
    """Whether any of these options was given a value by somebody, as against left at its library's default."""
    defaults = (cfg.Locations.opt_default, cfg.Locations.set_default)
    section = None if group == "DEFAULT" else group
    places = (conf.get_location(option, section) for option in options)
    return any(place is not None and place.location not in defaults for place in places)
