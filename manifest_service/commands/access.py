"""As whom the commands ask: a cloud of clouds.yaml, a token, the variables of OpenStack's clients, or nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from manifest_service.errors import AccessCode, ManifestServiceError, UsageError
from manifest_service.node.access import Access, FixedAccess

Function = TypeVar("Function", bound=Callable[..., Any])

_TOKEN = re.compile(r"[\x21-\x7e]+")


def access_options(function: Function) -> Function:
    """Give a command `--os-cloud` and `--cacert`."""
    options = (
        click.option(
            "--os-cloud",
            "cloud",
            envvar="OS_CLOUD",
            metavar="NAME",
            help="Authenticate as this cloud of clouds.yaml says; also by OS_CLOUD. Otherwise OS_TOKEN, or OS_AUTH_URL"
            " with OS_USERNAME, OS_APPLICATION_CREDENTIAL_ID and the like.",
        ),
        click.option(
            "--cacert",
            envvar="OS_CACERT",
            metavar="FILE",
            help="Certificates of the authorities to trust; also by OS_CACERT.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def open_access(cloud: str | None, cacert: str | None) -> Access:
    """As whom to ask. Nobody is asked yet. Raises UsageError, which never shows a secret."""
    if cacert and not os.path.exists(cacert):
        raise UsageError(AccessCode.BAD_CERTIFICATE, "the file of --cacert (or OS_CACERT) is not there")
    token = read_token()
    if cloud:
        return _open_cloud(cloud, cacert)
    if token is not None:
        return FixedAccess(token, cacert or True)
    if os.environ.get("OS_AUTH_URL"):
        return _open_cloud(None, cacert)
    return FixedAccess(None, cacert or True)


def read_token() -> str | None:
    """What OS_TOKEN holds. Raises UsageError for what is no token."""
    token = os.environ.get("OS_TOKEN", "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise UsageError("bad-token", "what OS_TOKEN holds is no token")
    return token or None


def _open_cloud(name: str | None, cacert: str | None) -> Access:
    try:
        from manifest_service.commands.cloud import CloudAccess  # noqa: PLC0415 - where nobody authenticates, it may lack
    except ModuleNotFoundError as error:
        raise UsageError(
            "not-installed",
            f"to authenticate by Keystone needs {error.name}: pip install 'manifest-service[keystone]', or put a token"
            " into OS_TOKEN",
        ) from error
    return CloudAccess(name, cacert)


def token_of(access: Access) -> Mapping[str, str]:
    """The headers of a request, where what goes wrong is a mistake in the call. Raises UsageError."""
    try:
        return access.headers()
    except UsageError:
        raise
    except ManifestServiceError as error:
        raise UsageError(error.code, error.reason) from error
