"""Finding the programs that tests need, and saying which Debian package brings a missing one."""

import os
import shutil
from glob import glob
from pathlib import Path
from typing import NoReturn

import pytest

# Servers and mkfs lie in sbin, which an ordinary user's PATH leaves out.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(name: str, package: str, *patterns: str) -> Path:
    """The program's path: the last match of the glob patterns, else what PATH has."""
    for pattern in patterns:
        if matches := sorted(glob(pattern), key=lambda path: [int(n) for n in path.split("/") if n.isdecimal()]):
            return Path(matches[-1])
    if found := shutil.which(name, path=_PATH):
        return Path(found)
    return missing(f"{name} is not installed: apt-get install {package}")


def missing(sentence: str) -> NoReturn:
    """Skip the test, except in CI, where a check that silently does not run is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{sentence} (CI is set, so this fails instead of being skipped)", pytrace=False)
    pytest.skip(sentence)
