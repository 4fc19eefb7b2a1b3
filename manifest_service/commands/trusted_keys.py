"""The option `--trusted-key`, as several commands have it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manifest_service.errors import UsageError

if TYPE_CHECKING:
    from manifest_service.attestations.keys import PublicKey

Function = TypeVar("Function", bound=Callable[..., Any])

TRUSTED_KEYS = "MANIFEST_SERVICE_TRUSTED_KEYS"


def trusted_key_option(text: str) -> Callable[[Function], Function]:
    """Give a command `--trusted-key`. text: what it does there."""
    return click.option(
        "--trusted-key",
        "trusted_keys",
        multiple=True,
        type=_key_path,
        metavar="FILE",
        help=f"{text} A public key in PEM, or a folder of them (`*.pem`); repeat it; also by the environment variable"
        f" {TRUSTED_KEYS} (`FILE:FILE…`).",
    )


def _key_path(name: str) -> Path:
    """What the option names. An empty name, of a variable that is not set, would stand for the current folder."""
    if not name:
        raise click.BadParameter("a file or a folder was expected; this is an empty name")
    return Path(name)


def load_trusted_keys(given: Sequence[Path]) -> Sequence[PublicKey]:
    """The keys that the option names, or else the environment. Empty where nothing does. Raises UsageError."""
    named = os.environ.get(TRUSTED_KEYS, "")
    paths = list(given) or [Path(each) for each in named.split(os.pathsep) if each]
    if named and not paths:
        raise UsageError("bad-key", f"{TRUSTED_KEYS} names no file: no key would be trusted")
    if not paths:
        return ()
    try:
        # Loading it takes as long as checking a small file: only for those who ask for it.
        from manifest_service.attestations.keys import load_public_key  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "not-installed", "--trusted-key needs `cryptography`, which is not installed here: pip install cryptography"
        ) from error
    return [load_public_key(file) for path in paths for file in _files_of(path)]


def _files_of(path: Path) -> Sequence[Path]:
    """A file itself; of a folder, the keys in it. A folder without any trusts nobody, which nobody means."""
    if not os.path.isdir(path):  # As against Path's own, it raises nothing, whatever the name.
        return [path]
    files = sorted(path.glob("*.pem"))
    if not files:
        raise UsageError("bad-key", f"the folder {str(path)!r} has no file *.pem: no key would be trusted")
    return files
