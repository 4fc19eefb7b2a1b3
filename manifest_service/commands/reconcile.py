"""`manifest-service reconcile`: compare with Glance now."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from manifest_service.commands.duty_wiring import EXIT_INTERRUPTED, make_reconcile, require_glance, run_now, stopping
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database

EXIT_HELD_BACK = 4


@click.command("reconcile")
@config_option
@click.option(
    "--any-loss", is_flag=True, help="Mark as deleted what Glance does not have any more, however much that is."
)
def command(config_files: Sequence[str], any_loss: bool) -> None:
    """Compare with Glance once, now: queue what was missed, mark what was deleted, free what is stuck.

    Workers do so by themselves every [reconcile] interval.

    Exit code: 0 done, 4 deletions are held back (standard error says why), 130 stopped, 2 wrong usage, 1 anything else.
    """
    conf = load_config(config_files)
    with stopping() as stop, needing_database():
        database = open_database(conf)
        work = make_reconcile(conf, database, require_glance(conf, stop), any_loss=any_loss)
        outcome = run_now(conf, database, work, stop)
    if outcome is None:
        sys.exit(EXIT_INTERRUPTED)
    for name in ("seen", "new", "changed", "unchanged", "gone", "deleted", "restored", "repaired"):
        click.echo(f"{name + ':':<10} {outcome[name]}")
    if outcome["held_back"] is not None:
        click.echo(f"no deletion was marked: {outcome['held_back']}", err=True)
        sys.exit(EXIT_HELD_BACK)
