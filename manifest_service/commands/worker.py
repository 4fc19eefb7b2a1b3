"""`manifest-service worker`: compute manifests."""

from __future__ import annotations

from collections.abc import Sequence

import click

from manifest_service.commands.running import running, wait_for_signal
from manifest_service.commands.wiring import config_option, load_config, make_worker_pool, open_database
from manifest_service.images.stores import ImageStores


@click.command("worker")
@config_option
def command(config_files: Sequence[str]) -> None:
    """Take images from the queue and compute their manifests. Run any number, on any number of hosts."""
    conf = load_config(config_files)
    pool = make_worker_pool(conf, open_database(conf), ImageStores(conf))
    with running([pool]):
        wait_for_signal()
