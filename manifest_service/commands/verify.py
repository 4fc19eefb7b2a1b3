"""`manifest-service verify FILE…`: is this file what it should be?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click

from manifest_service.commands.checking import check
from manifest_service.commands.node_options import node_options, open_client, open_manifests, read_settings
from manifest_service.commands.verdict_output import verdict_output
from manifest_service.node.base_directory import BaseFile, Kind, cache_name_of, classify
from manifest_service.node.verdicts import exit_code_of


@click.command("verify")
@node_options
@click.option(
    "--image-id", type=click.UUID, metavar="ID", help="The image that the files should be, whatever their names."
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(
    files: Sequence[Path],
    image_id: UUID | None,
    url: str,
    bundle: Path | None,
    trusted_keys: Sequence[Path],
    flat: bool,
    seal: bool,
    rate: int,
    io_priority: str,
    as_json: bool,
    cloud: str | None,
    cacert: str | None,
) -> None:
    """Tell whether FILES are the disks that their images should be.

    A file's name says which image, as in Nova's `_base`; --image-id says it for files of other names. A file of which
    neither says it is looked up by its digest.

    Exit code: 0 all match, 4 something is corrupt, 5 something is unknown or pending, 2 wrong usage, 1 anything else.
    """
    settings = read_settings(flat=flat, identify=True, seal=seal, rate=rate, io_priority=io_priority)
    verdicts = check(
        [_base_file(file, image_id) for file in files],
        open_manifests(open_client(url, cloud, cacert, is_needed=bundle is None), bundle, trusted_keys),
        settings,
        verdict_output(as_json=as_json),
    )
    sys.exit(exit_code_of(found.verdict for found in verdicts))


def _base_file(path: Path, image_id: UUID | None) -> BaseFile:
    if image_id is None:
        return classify(path)
    return BaseFile(path, Kind.IMAGE, cache_name_of(str(image_id)))
