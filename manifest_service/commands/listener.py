"""`manifest-service listener`: take in Glance's notifications."""

from __future__ import annotations

from collections.abc import Sequence

import click

from manifest_service.commands.running import running, wait_for_signal
from manifest_service.commands.wiring import config_option, load_config, open_database
from notifications.listener import Listener


@click.command("listener")
@config_option
def command(config_files: Sequence[str]) -> None:
    """Listen for Glance's notifications and queue what they announce. Run any number, on any number of hosts."""
    conf = load_config(config_files)
    listener = Listener(conf, open_database(conf))
    with running([listener]):
        wait_for_signal()
