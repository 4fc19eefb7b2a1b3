"""Finding the programs that tests need, and saying which Debian package, or what else, brings a missing one."""

import os
import shutil
import subprocess
import sys
from functools import cache
from glob import glob
from pathlib import Path
from typing import NoReturn

import pytest

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where programs are looked for. Servers, mkfs and e2label lie in sbin, which an ordinary user's PATH leaves out."""

_MAKE_VENV = Path(__file__).parents[2] / "tools" / "make-test-venv"


def find(name: str, package: str, *patterns: str) -> Path:
    """The program's path: the last match of the glob patterns, else what PATH has."""
    for pattern in patterns:
        if matches := sorted(glob(pattern), key=lambda path: [int(n) for n in path.split("/") if n.isdecimal()]):
            return Path(matches[-1])
    if found := shutil.which(name, path=PATH):
        return Path(found)
    return missing(f"{name} is not installed: apt-get install {package}")


def environment(service: str) -> Path:
    """The virtual environment that tools/make-test-venv made for a service, `glance` or `nova`."""
    venv = _environment_path(service)
    if not (venv / "complete").exists():
        missing(f"the {service.title()} environment is not made: run tools/make-test-venv {service} (make test does)")
    return venv


@cache
def _environment_path(service: str) -> Path:
    asked = subprocess.run(
        [_MAKE_VENV, service, "--path"],
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(asked.stdout.strip())


def missing(sentence: str) -> NoReturn:
    """Skip the test, except in CI, where a check that silently does not run is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{sentence} (CI is set, so this fails instead of being skipped)", pytrace=False)
    pytest.skip(sentence)
