"""The options that `verify` and `scan` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from manifest_service.commands.access import access_options, open_access
from manifest_service.commands.trusted_keys import load_trusted_keys, trusted_key_option
from manifest_service.node.access import ANONYMOUS
from manifest_service.node.api_manifests import ApiClient, ApiManifests
from manifest_service.node.bundle import BundledManifests
from manifest_service.node.expectations import Manifests
from manifest_service.node.reading import Pace, take_idle_priority
from manifest_service.node.verification import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_URL = "http://127.0.0.1:9494"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def byte_size(value: str) -> int:
    """Read a number of bytes, with K, M or G for powers of 1024: 256M, 256MiB."""
    found = re.fullmatch(r"(\d{1,12})([kmg]?)(?:i?b)?", value.strip(), re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{value!r} is no number of bytes, as 256M")
    return int(found[1]) * _UNITS[found[2].lower()]


def node_options(function: Function) -> Function:
    """Give a command the options of which manifests to use, and how files are read."""
    options = (
        click.option(
            "--url",
            envvar="MANIFEST_SERVICE_URL",
            default=DEFAULT_URL,
            show_default=True,
            metavar="URL",
            help="The API; also by the environment variable MANIFEST_SERVICE_URL.",
        ),
        click.option(
            "--manifests",
            "bundle",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Manifests from a file, a JSON document a line, in place of the API.",
        ),
        trusted_key_option("Believe only manifests whose statement this key signed, whoever they come from."),
        click.option("--flat", is_flag=True, help="Hash all bytes, whatever cheaper evidence there is."),
        click.option("--enable-fsverity", "seal", is_flag=True, help="Seal files that match, by fs-verity."),
        click.option(
            "--rate",
            type=byte_size,
            metavar="BYTES",
            default="256M",
            show_default=True,
            help="Bytes a second that are read from the disks at most; 0: no bound.",
        ),
        click.option(
            "--io-priority",
            type=click.Choice(["idle", "normal"]),
            default="idle",
            show_default=True,
            help="Whether the disks serve others first.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file."),
    )
    function = access_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def open_client(url: str, cloud: str | None, cacert: str | None, *, is_needed: bool) -> ApiClient:
    """The API, which is not asked yet. is_needed: whether it will be, so that it matters as whom. Raises UsageError."""
    return ApiClient(url, open_access(cloud, cacert) if is_needed else ANONYMOUS)


def open_manifests(client: ApiClient, bundle: Path | None, trusted_keys: Sequence[Path]) -> Manifests:
    """Where the manifests come from, and whom to believe. client: asked where there is no bundle. Raises UsageError."""
    trusted = load_trusted_keys(trusted_keys)
    manifests: Manifests
    manifests = ApiManifests(client, with_statements=bool(trusted)) if bundle is None else BundledManifests(bundle)
    if not trusted:
        return manifests
    from manifest_service.node.trust import TrustedManifests  # noqa: PLC0415 - as the keys are loaded

    return TrustedManifests(manifests, trusted)


def read_settings(*, flat: bool, identify: bool, seal: bool, rate: int, io_priority: str) -> Settings:
    """How files are checked; also takes the priority."""
    if io_priority == "idle":
        take_idle_priority()
    return Settings(flat=flat, identify=identify, seal=seal, pace=Pace(rate) if rate else None)
