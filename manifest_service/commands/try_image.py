"""`manifest-service try FILE`: play Glance for a running `serve`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from manifest_service.commands.access import access_options, open_access
from manifest_service.commands.client import ApiClient
from manifest_service.commands.printing import printable
from manifest_service.commands.wiring import config_option, load_config
from manifest_service.disks.formats import detect_format
from manifest_service.disks.source import FileSource
from manifest_service.errors import ManifestServiceError
from manifest_service.images.stores import ImageStores


@click.command("try")
@config_option
@click.option("--url", metavar="URL", help="The running API; by default where [api] listen says.")
@click.option("--disk-format", metavar="FORMAT", help="What to claim the file is; by default what it looks like.")
@click.option(
    "--timeout", default=3600, type=click.IntRange(min=1), show_default=True, help="Seconds to wait for the manifest."
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@access_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(
    config_files: Sequence[str],
    url: str | None,
    disk_format: str | None,
    timeout: int,
    as_json: bool,
    cloud: str | None,
    cacert: str | None,
    file: Path,
) -> None:
    """Give a running service an image, as Glance would: store FILE, announce it, wait for its manifest.

    Run it with the configuration of the service, so that both look into the same store.
    """
    conf = load_config(config_files)
    client = ApiClient(url or f"http://{conf.api.listen}", open_access(cloud, cacert))
    client.require_answer()
    with FileSource.open(file) as source:
        claimed = disk_format or detect_format(source)
        size = source.size
    image_id = str(uuid.uuid4())
    stores = ImageStores(conf)
    with file.open("rb") as data:
        stored = stores.add(image_id, data, size)
    try:
        client.ask_for_computation(image_id, printable(file.name), claimed, stored)
    except ManifestServiceError:
        stores.remove(image_id)
        raise
    manifest = _wait(client, image_id, timeout)
    click.echo(json.dumps(manifest, indent=2) if as_json else _in_words(client, manifest))
    raise SystemExit(0 if manifest["status"] == "ready" else 1)


def _wait(client: ApiClient, image_id: str, timeout: int) -> dict[str, Any]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("computing", total=None)

        def show(manifest: dict[str, Any]) -> None:
            progress = manifest.get("progress") or {}
            bar.update(task, completed=progress.get("done", 0), total=progress.get("total") or None)

        return client.wait_for_manifest(image_id, timeout, show)


def _in_words(client: ApiClient, manifest: dict[str, Any]) -> str:
    lines = [f"image {manifest['image_id']}: {manifest['status']}"]
    if manifest["status"] == "ready":
        lines.append(f"virtual size: {manifest['virtual_size']} bytes")
        lines += [f"{algorithm}: {value}" for algorithm, value in sorted(manifest["digests"].items())]
    else:
        lines += [f"{manifest['code']}: {manifest['reason']}", manifest.get("next_step") or ""]
    lines.append(f"page: {client.url}/images/{manifest['image_id']}")
    return "\n".join(printable(line) for line in lines if line)
