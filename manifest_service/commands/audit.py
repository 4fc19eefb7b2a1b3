"""`manifest-service audit`: does the database still say what was signed?"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from manifest_service.commands.counting import counting
from manifest_service.commands.printing import printable
from manifest_service.commands.trusted_keys import load_trusted_keys, trusted_key_option
from manifest_service.commands.wiring import config_option, load_config, needing_database, open_database
from manifest_service.manifests import audit
from manifest_service.manifests.audit import Finding, Kind
from manifest_service.shown import counted

AT_ONCE = 200
"""Manifests in memory at a time, and in one transaction."""
EXIT_TAMPERED = 4
EXIT_UNSIGNED = 5


@click.command("audit")
@config_option
@trusted_key_option("Believe only statements that this key signed, and not the keys that the database names.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a finding.")
@needing_database()
def command(config_files: Sequence[str], trusted_keys: Sequence[Path], as_json: bool) -> None:
    """Compare every manifest, all revisions, with its signed statement, and print what is not as it should be.

    Exit code: 0 nothing found, 4 something was edited (or a statement is missing), 5 some manifests are unsigned, or
    signed with keys that are not trusted, 2 wrong usage, 1 anything else.
    """
    database = open_database(load_config(config_files))
    trusted = load_trusted_keys(trusted_keys)
    kinds: Counter[Kind] = Counter()
    seen, last = 0, 0
    with counting("auditing", database.transaction(audit.count)) as advance:
        while True:
            part = database.transaction(lambda session: audit.audit_part(session, trusted, last, AT_ONCE))  # noqa: B023
            for finding in part.findings:
                kinds[finding.kind] += 1
                click.echo(json.dumps(asdict(finding)) if as_json else _in_words(finding))
            seen += part.seen
            advance(part.seen)
            if part.last is None:
                break
            last = part.last
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "nothing found"
    click.echo(f"{counted(seen, 'manifest')}: {told}", err=True)
    if any(not audit.may_be_innocent(kind, trusted) for kind in kinds):
        sys.exit(EXIT_TAMPERED)
    sys.exit(EXIT_UNSIGNED if kinds else 0)


def _in_words(finding: Finding) -> str:
    return f"{finding.kind:<17} {finding.image_id} revision {finding.revision}: {printable(finding.reason)}"
