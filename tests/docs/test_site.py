"""The site builds without a warning: no page that is in no list, no link that leads nowhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The site, as `make docs` builds it."""
    target = tmp_path_factory.mktemp("site")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-E",
        "-W",
        "-n",
        "--keep-going",
        ROOT / "docs",
        target,
    ]
    return target, subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_it_builds_without_a_warning(built: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = built

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "holds"),
    [
        ("commands", 'id="cmdoption-manifest-service-scan-trusted-key"'),
        ("configuration", 'id="option-digests-block-map-ranges"'),
        ("calls", 'id="call-get-v1-manifests-image-id"'),
        ("contributing", "How to add"),
    ],
)
def test_pages_that_come_from_elsewhere_are_there(
    page: str, holds: str, built: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    assert holds in (built[0] / f"{page}.html").read_text()


def test_nothing_is_fetched_from_elsewhere(built: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for page in built[0].rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page
