"""The checks of `upgrade-check`: each looks at one thing, changes nothing, and says what it found."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from oslo_config import cfg
from sqlalchemy import func, inspect, select

from api.authentication import KEYSTONE
from api.authorization import load_policies
from manifest_service import config
from manifest_service.commands.wiring import begin_to_log, connect_database, load_signer, needing_database
from manifest_service.errors import ManifestServiceError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import schema
from manifest_service.manifests.base import Base
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Image
from manifest_service.shown import counted

LEAST_PYTHON = (3, 11)
LEAST_SQLITE = (3, 35, 0)
"""With UPDATE … RETURNING and upserts as SQLAlchemy writes them."""
DEPRECATED: Sequence[tuple[str, str, str]] = ()
"""(section, option, what to write instead), for options that the next major version no longer reads."""


class Level(IntEnum):
    """How much is in the way: the exit code, as with oslo.upgradecheck."""

    GOOD = 0
    WARNING = 1
    FAILURE = 2


@dataclass(frozen=True)
class Finding:
    """What one check has found. details: what is so, and the next step."""

    check: str
    level: Level
    details: str


def run_checks(config_files: Sequence[str]) -> Sequence[Finding]:
    """Run all checks; where the configuration cannot be read, that is all there is to say."""
    try:
        conf = config.load(config_files)
    except ManifestServiceError as error:
        return [_libraries(), Finding("configuration", Level.FAILURE, str(error))]
    conf.set_override("max_retries", 0, group="database")
    begin_to_log(conf)
    return [_libraries(), _configuration(conf), *_database(conf), *(check(conf) for check in _OTHERS)]


def _libraries() -> Finding:
    found = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    if sys.version_info < LEAST_PYTHON or sqlite3.sqlite_version_info < LEAST_SQLITE:
        return Finding("libraries", Level.FAILURE, f"{found}; Python 3.11 and SQLite 3.35 are needed at least")
    return Finding("libraries", Level.GOOD, found)


def _configuration(conf: cfg.ConfigOpts) -> Finding:
    old = [
        f"[{section}] {option}: {instead}"
        for section, option, instead in DEPRECATED
        if config.is_configured(conf, section, option)
    ]
    if old:
        return Finding("configuration", Level.WARNING, f"the next major version does not read {'; '.join(old)}")
    files = conf.default_config_files
    return Finding("configuration", Level.GOOD, ", ".join(files) if files else "none: the embedded default")


def _database(conf: cfg.ConfigOpts) -> Sequence[Finding]:
    try:
        with closing(connect_database(conf)) as database, needing_database():
            return [_schema(database), _columns(database), _half_written(database)]
    except ManifestServiceError as error:
        return [Finding("database", Level.FAILURE, str(error))]


def _schema(database: Database) -> Finding:
    found, needed = schema.current_version(database), schema.newest_version()
    try:
        schema.require_current(database)
    except ManifestServiceError:
        return Finding(
            "schema", Level.FAILURE, f"at {found or 'nothing'}, {needed} is needed: run `manifest-service db upgrade`"
        )
    if found != needed:
        return Finding("schema", Level.WARNING, f"at {found}, newer than this version's {needed}: end the upgrade")
    return Finding("schema", Level.GOOD, f"at {found}")


def _columns(database: Database) -> Finding:
    """Whether all is there that the version number says, as after a revision that broke off on MariaDB."""
    if schema.current_version(database) is None:
        return Finding("tables", Level.WARNING, "there are none yet")
    inspector = inspect(database.engine)
    missing = []
    for table in Base.metadata.sorted_tables:
        is_there = inspector.has_table(table.name)
        there = {column["name"] for column in inspector.get_columns(table.name)} if is_there else set()
        missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in there]
    if missing and schema.current_version(database) == schema.newest_version():
        return Finding(
            "tables", Level.FAILURE, f"{', '.join(missing)} should be there by the schema's number: restore a backup"
        )
    return Finding("tables", Level.GOOD, f"{len(missing)} columns are still to be made" if missing else "complete")


def _half_written(database: Database) -> Finding:
    """Whether processes of a version before 0004 wrote images that lists do not show rightly."""
    found = schema.current_version(database)
    if found is None or found < "0004":
        return Finding("data", Level.GOOD, "nothing is to be brought up to date")
    unlisted = select(func.count()).where(Image.current_revision.is_not(None), Image.status.is_(None))
    with database.engine.connect() as connection:
        count = connection.execute(unlisted).scalar_one()
    if count:
        return Finding(
            "data",
            Level.WARNING,
            f"{counted(count, 'image was', 'images were')} written by an older version after the upgrade, and not in"
            " lists: end its processes, then run `manifest-service reconcile`",
        )
    return Finding("data", Level.GOOD, "nothing is to be brought up to date")


def _qemu_img(_: cfg.ConfigOpts) -> Finding:
    found = shutil.which("qemu-img")
    if found is None:
        return Finding(
            "qemu-img", Level.WARNING, "not installed: vmdk, vhd, vhdx, vdi and qed fail here; install qemu-utils"
        )
    return Finding("qemu-img", Level.GOOD, found)


def _policies(conf: cfg.ConfigOpts) -> Finding:
    """Whether the API could decide by the policy files; without authentication it never reads them."""
    if conf.api.auth_strategy != KEYSTONE:
        return Finding("policies", Level.GOOD, f"not used: [api] auth_strategy is {conf.api.auth_strategy}")
    try:
        load_policies(conf)
    except ManifestServiceError as error:
        return Finding("policies", Level.FAILURE, str(error))
    return Finding("policies", Level.GOOD, f"read, with {conf.oslo_policy.policy_file} where it is there")


def _key(conf: cfg.ConfigOpts) -> Finding:
    try:
        signer = load_signer(conf)
    except ManifestServiceError as error:
        return Finding("signing key", Level.FAILURE, str(error))
    if signer is None:
        return Finding("signing key", Level.WARNING, "[attestations] signing_key is not set: no statements are made")
    return Finding("signing key", Level.GOOD, signer.public.key_id)


def _stores(conf: cfg.ConfigOpts) -> Finding:
    try:
        labels = [driver.label for driver in ImageStores(conf).drivers.all]
    except ManifestServiceError as error:
        return Finding("stores", Level.FAILURE, str(error))
    return Finding("stores", Level.GOOD, ", ".join(labels))


def _scratch(conf: cfg.ConfigOpts) -> Finding:
    folder = config.scratch_folder(conf)
    there = next(path for path in (folder, *folder.absolute().parents) if Path(path).exists())
    free = shutil.disk_usage(there).free
    needed = conf.limits.scratch_size
    found = f"{free >> 30} GiB free for {folder}"
    if free < needed:
        return Finding(
            "scratch", Level.WARNING, f"{found}; one conversion may take {needed >> 30} GiB ([limits] scratch_size)"
        )
    return Finding("scratch", Level.GOOD, found)


_OTHERS: Sequence[Callable[[cfg.ConfigOpts], Finding]] = (_policies, _key, _stores, _qemu_img, _scratch)
