"""`manifest-service worker`: compute manifests."""

from __future__ import annotations

from collections.abc import Sequence

import click

from manifest_service.commands.duty_wiring import make_duties
from manifest_service.commands.running import running, wait_for_signal
from manifest_service.commands.wiring import config_option, load_config, make_worker_pool, open_database
from manifest_service.images.stores import ImageStores


@click.command("worker")
@config_option
def command(config_files: Sequence[str]) -> None:
    """Take images from the queue and compute their manifests. Run any number, on any number of hosts.

    One of them reconciles with Glance and reads sources again, as [reconcile] and [scrub] say.
    """
    conf = load_config(config_files)
    database, stores = open_database(conf), ImageStores(conf)
    pool = make_worker_pool(conf, database, stores)
    # Stopped last: an image that is under way goes back first, whatever a duty waits for.
    with running([make_duties(conf, database, stores), pool]):
        wait_for_signal()
