"""`manifest-service fetch IMAGE_ID`: an image's file as Glance stores it, verified while it comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from manifest_service.commands.access import access_options, open_access, token_of
from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.node_options import open_manifests
from manifest_service.commands.printing import printable
from manifest_service.commands.progress import progress_bar
from manifest_service.commands.trusted_keys import trusted_key_option
from manifest_service.disks.new_file import NewFile
from manifest_service.errors import DownloadCode, DownloadFailed, ManifestServiceError, UsageError
from manifest_service.images.download import Expectation, download
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_connection import UrlConnection
from manifest_service.images.glance_record import ImageRecord
from manifest_service.node.api_manifests import ApiClient
from manifest_service.node.base_directory import cache_name_of
from manifest_service.node.expectations import UNSIGNED, UNTRUSTED, Manifests

EXIT_FETCHED = 0
EXIT_FAILED = 1
EXIT_MISMATCH = 4

_HEADER = re.compile(r"([A-Za-z0-9-]+):[ ]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_SECRET_HEADERS = {"x-auth-token", "authorization", "cookie"}


@dataclass(frozen=True)
class Fetched:
    """What came of it. size in bytes; checksums: what was computed; verified: the algorithms that somebody records."""

    image_id: str
    file: str | None = None
    disk_format: str | None = None
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    verified: tuple[str, ...] = ()
    error: ManifestServiceError | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "file": self.file,
            "image_id": self.image_id,
            "format": self.disk_format,
            "status": "failed" if self.error else "ready",
            "size": self.size,
            "checksums": dict(self.checksums),
            "verified": list(self.verified),
            "code": self.error.code if self.error else None,
            "reason": self.error.reason if self.error else None,
        }


@click.command("fetch")
@click.option(
    "--output",
    "-o",
    type=click.Path(readable=False),
    metavar="FILE",
    help="Where to write it; by default to IMAGE_ID.DISK_FORMAT here.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--glance-url",
    envvar=["OS_IMAGE_ENDPOINT_OVERRIDE", "GLANCE_URL"],
    show_envvar=True,
    required=True,
    metavar="URL",
    help="The image API.",
)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="For a Glance without Keystone.")
@click.option("--url", metavar="URL", help="A manifest API, whose manifest the file must agree with, too.")
@trusted_key_option("Believe only a manifest whose statement this key signed; for --url.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@access_options
@click.argument("image_id", type=click.UUID)
def command(
    output: str | None,
    force: bool,
    glance_url: str,
    headers: Sequence[str],
    url: str | None,
    trusted_keys: Sequence[Path],
    as_json: bool,
    cloud: str | None,
    cacert: str | None,
    image_id: UUID,
) -> None:
    """Get the file of image IMAGE_ID from Glance, as it is stored there, and verify it.

    The file appears when it is whole and agrees with all that is recorded of it, or not at all. The token is
    that of --os-cloud, OS_TOKEN, or the variables of OpenStack's clients (OS_AUTH_URL…).

    Exit code: 0 fetched and verified, 4 it is not what is recorded, 2 usage, 1 anything else.
    """
    if trusted_keys and not url:
        raise UsageError(
            "bad-usage", "--trusted-key says which manifest to believe, and --url names nobody who has one"
        )
    access = open_access(cloud, cacert)
    manifests = open_manifests(ApiClient(url, access), None, trusted_keys) if url else None
    connection = UrlConnection(glance_url, {**_headers(headers), **token_of(access)}, access.verify)
    with GlanceApi(connection) as glance, ending_in_order():
        result = _fetch(glance, manifests, str(image_id), output, overwrite=force)
    _print(result, as_json=as_json)
    sys.exit(_exit_code(result.error))


def _headers(texts: Sequence[str]) -> dict[str, str]:
    """Headers of the caller's own. Raises UsageError, without repeating what was given."""
    headers = {}
    for text in texts:
        found = _HEADER.fullmatch(text)
        if found is None:
            raise UsageError("bad-header", "--header should be 'NAME: VALUE', in ASCII")
        if found[1].lower() in _SECRET_HEADERS:
            raise UsageError("bad-header", f"everybody here can read --header {found[1]}: put the token into OS_TOKEN")
        headers[found[1]] = found[2]
    return headers


def _fetch(
    glance: GlanceApi, manifests: Manifests | None, image_id: str, output: str | None, *, overwrite: bool
) -> Fetched:
    """Fetch an image; what goes wrong is part of the result, but for mistakes in the call (UsageError)."""
    record = ImageRecord(image_id)
    bar = progress_bar()
    try:
        record = glance.show(image_id)
        output = output or f"{image_id}.{record.disk_format or 'img'}"
        expectations = [Expectation("Glance", record.size, record.checksums)]
        if manifests is not None:
            expectations.append(_expectation_of_manifest(manifests, image_id))
        with NewFile(output, overwrite=overwrite) as file:
            bar.begin(printable(output))
            found = download(glance, image_id, file.descriptor, expectations, bar.update)
            file.land()
    except UsageError:
        raise
    except ManifestServiceError as error:
        return Fetched(image_id, output, record.disk_format, error=error)
    finally:
        bar.end()
    recorded = {algorithm for expected in expectations for algorithm in expected.checksums}
    verified = tuple(sorted(recorded & found.checksums.keys()))
    return Fetched(image_id, output, record.disk_format, found.size, found.checksums, verified)


def _expectation_of_manifest(manifests: Manifests, image_id: str) -> Expectation:
    """What our own manifest says of the source.

    Raises DownloadFailed where there is none that says anything, or none that a trusted key has signed.
    """
    # The name follows from the id, and is what a statement is verified to be about.
    manifest = manifests.find_by_cache_names([cache_name_of(image_id)]).get(cache_name_of(image_id))
    if manifest is None:
        raise DownloadFailed(DownloadCode.NO_MANIFEST, "the manifest API does not know the image")
    if manifest.status == UNTRUSTED:
        raise DownloadFailed(DownloadCode.NOT_VERIFIED, f"its manifest is not to be believed: {manifest.reason}")
    if manifest.status == UNSIGNED:
        raise DownloadFailed(DownloadCode.NOT_VERIFIED, "its manifest has no signed statement")
    if not manifest.source_checksums:
        raise DownloadFailed(
            DownloadCode.NO_MANIFEST,
            f"the manifest of the image is {printable(manifest.status)}, and has no checksum of its source",
        )
    return Expectation("its manifest", manifest.source_size, manifest.source_checksums)


def _print(result: Fetched, *, as_json: bool) -> None:
    """Print what came of it: checksums in the tagged form that `sha512sum --check` reads."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    name = printable(result.file or result.image_id)
    if result.error is not None:
        click.echo(f"{name}: failed: {printable(str(result.error))}", err=True)
        if result.error.next_step:
            click.echo(f"  {result.error.next_step}", err=True)
    elif not result.verified:
        click.echo(f"{name}: warning: no checksum is recorded of this image: it may be anything of its size", err=True)
    for algorithm, value in result.checksums.items():
        click.echo(f"{algorithm.upper()} ({name}) = {value}")


def _exit_code(error: ManifestServiceError | None) -> int:
    if error is None:
        return EXIT_FETCHED
    return EXIT_MISMATCH if error.code == DownloadCode.SOURCE_MISMATCH else EXIT_FAILED
