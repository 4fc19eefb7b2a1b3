"""`manifest-service keys …`: the keys that statements are signed with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from manifest_service.attestations.keys import PublicKey, generate_private_key, load_private_key
from manifest_service.commands.counting import counting
from manifest_service.commands.wiring import config_option, load_config, load_signer, needing_database, open_database
from manifest_service.errors import KeyCode, UsageError
from manifest_service.manifests import audit, signing, statements
from manifest_service.shown import counted

AT_ONCE = 100
"""Statements that are made in one transaction."""


@click.group("keys")
def command() -> None:
    """Look after the keys that statements are signed with."""


@command.command("generate")
@click.argument("file", type=click.Path(path_type=Path))
def generate(file: Path) -> None:
    """Make a new Ed25519 key in FILE, for its owner alone; print its id, and its public key for the nodes.

    A rotation takes no more: name the new FILE in [attestations] signing_key and start the workers again. Give nodes
    the new public key before, and leave them the old one as long as statements of it are in use.
    """
    _print_key(generate_private_key(file).public)


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Print the id and the public key of the private key in FILE."""
    _print_key(load_private_key(file).public)


@command.command("list")
@config_option
@needing_database()
def list_(config_files: Sequence[str]) -> None:
    """List all keys that statements were signed with: key id, first use, number of statements."""
    conf = load_config(config_files)
    current = load_signer(conf)
    database = open_database(conf)
    counts = database.transaction(statements.count_by_key)
    for key in database.transaction(statements.list_keys):
        used = "" if key.imported_at is None else "  (of another site)"
        if current is not None and current.public.key_id == key.key_id:
            used = "  (of this configuration)"
        click.echo(f"{key.key_id}  {key.first_used_at:%Y-%m-%dT%H:%M:%SZ}  {counts.get(key.key_id, 0)}{used}")


@command.command("sign")
@config_option
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    metavar="TIME",
    help="Sign manifests computed before this time, in UTC; by default those from before the first statement.",
)
@needing_database()
def sign(config_files: Sequence[str], until: datetime | None) -> None:
    """Sign ready manifests that have no statement, as the database has them.

    For manifests from before there was a key. Such a statement says `"basis": "record"`: it is no better than the
    database was by now. Where that is in doubt, have the images computed again instead. It may be stopped at any time,
    and goes on where it was.
    """
    conf = load_config(config_files)
    signer = load_signer(conf)
    if signer is None:
        raise UsageError(KeyCode.NO_KEY, "there is no key to sign with: [attestations] signing_key is not set")
    database = open_database(conf)
    end = database.transaction(signing.signing_end) if until is None else until.replace(tzinfo=UTC)
    signed = passed_over = last = 0
    with counting("signing", database.transaction(audit.count)) as advance:
        while True:
            part = database.transaction(
                lambda session: signing.sign_part(session, signer, end, last, AT_ONCE)  # noqa: B023
            )
            signed += part.signed
            passed_over += part.passed_over
            advance(part.seen)
            if part.last is None:
                break
            last = part.last
    click.echo(f"{counted(signed, 'statement')} signed with {signer.public.key_id[:16]}")
    if passed_over:
        click.echo(
            f"{counted(passed_over, 'manifest')} without a statement not signed: computed at"
            f" {end:%Y-%m-%dT%H:%M:%SZ} or later, or incomplete. Have each computed again (`audit` names"
            " them), or say --until TIME",
            err=True,
        )
        sys.exit(1)


def _print_key(key: PublicKey) -> None:
    click.echo(f"key id: {key.key_id}\n{key.pem}", nl=False)
