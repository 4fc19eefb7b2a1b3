"""`manifest-service serve`: API, listener and workers in one process; with no configuration, the embedded default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from oslo_config import cfg

from manifest_service.attestations.keys import generate_private_key
from manifest_service.commands.api import ServedApi
from manifest_service.commands.duty_wiring import make_duties
from manifest_service.commands.running import Signals, running
from manifest_service.commands.wiring import (
    config_option,
    connect_database,
    load_config,
    make_worker_pool,
    needing_database,
)
from manifest_service.errors import KeyCode, UsageError
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import schema
from manifest_service.processing.presence import Presence
from notifications.listener import EMBEDDED_TRANSPORT, Listener, is_transport_configured, open_transport


@click.command("serve")
@config_option
def command(config_files: Sequence[str]) -> None:
    """Run everything in one process. Without a configuration: SQLite, a file store, no broker."""
    conf = load_config(config_files)
    with serving(conf) as (served, _):
        click.echo(f"page and API: {served.url}/")
        click.echo(f"state: {conf.state_path}")
        click.echo("give it an image: manifest-service try FILE    end it: Ctrl-C")
        Signals().wait()


@contextmanager
def serving(conf: cfg.ConfigOpts) -> Iterator[tuple[ServedApi, Any]]:
    """Run the whole service; gives the API and the notification transport. Raises UsageError."""
    database = connect_database(conf)
    if database.url.get_backend_name() == "sqlite":
        schema.upgrade(database)
    with needing_database():
        schema.require_current(database)
    transport = open_transport(conf, None if is_transport_configured(conf) else EMBEDDED_TRANSPORT)
    _have_a_key(conf)
    api_database = connect_database(conf, conf.api.statement_time)
    served = ServedApi(conf, api_database)
    stores = ImageStores(conf)
    pool = make_worker_pool(conf, database, stores)
    duties = make_duties(conf, database, stores, has_glance=is_transport_configured(conf))
    try:
        listener = Listener(conf, database, transport)
        parts = {"listener": listener.look, "worker": pool.look, "api": served.look}
        with running([listener, duties, pool, served, Presence(database, "serve", parts)]):
            yield served, transport
    finally:
        transport.cleanup()
        api_database.close()
        database.close()


def _have_a_key(conf: cfg.ConfigOpts) -> None:
    """Where no key is configured, sign with one of our own in state_path; the first start makes it."""
    if conf.attestations.signing_key:
        return
    path = Path(conf.state_path) / "signing-key.pem"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        generate_private_key(path)
    except OSError as error:
        raise UsageError("bad-configuration", f"state_path cannot be made: {error.strerror}") from error
    except UsageError as error:
        if error.code != KeyCode.KEY_EXISTS:
            raise
    conf.set_default("signing_key", str(path), group="attestations")
