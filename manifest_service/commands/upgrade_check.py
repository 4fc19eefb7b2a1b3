"""`manifest-service upgrade-check`: what stands in the way of this version, before its processes start."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from manifest_service.commands.checks import Finding, Level, run_checks
from manifest_service.commands.wiring import config_option

_SHOWN = {Level.GOOD: "Success", Level.WARNING: "Warning", Level.FAILURE: "Failure"}
"""In the words of OpenStack's other upgrade checks."""


@click.command("upgrade-check")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one object a check, a line each.")
def command(config_files: Sequence[str], as_json: bool) -> None:
    """Check what this version needs: configuration, database, stores, keys, room. Run it before an upgrade, and after.

    Exit code 0: nothing is in the way. 1: something should be looked at. 2: this version would not run.
    """
    findings = run_checks(config_files)
    if as_json:
        for finding in findings:
            click.echo(
                json.dumps({"check": finding.check, "result": _SHOWN[finding.level], "details": finding.details})
            )
    else:
        _print_table(findings)
    raise SystemExit(max(finding.level for finding in findings))


def _print_table(findings: Sequence[Finding]) -> None:
    table = Table(title="Upgrade check")
    for heading in ("check", "result", "details"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(finding.check, _SHOWN[finding.level], finding.details)
    Console(highlight=False, markup=False).print(table)
