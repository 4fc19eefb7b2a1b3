"""The units in etc/systemd, by systemd's own judgement."""

import subprocess
from pathlib import Path

import pytest

from tests.servers import programs
from tests.servers.service import EXECUTABLE

UNITS = Path(__file__).parents[1] / "etc" / "systemd"
_INSTALLED = "/usr/local/bin/manifest-service"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, for the command as it is installed here."""
    for path in UNITS.iterdir():
        text = path.read_text()
        (tmp_path / path.name).write_text(text.replace(_INSTALLED, str(EXECUTABLE)))
        assert path.suffix != ".service" or _INSTALLED in text
    return tmp_path


def _analyze(*arguments: object) -> str:
    command: list[str | Path] = [programs.find("systemd-analyze", "systemd"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", ["manifest-service-scan.service", "manifest-service-scan.timer"])
def test_units_are_sound(units: Path, name: str) -> None:
    assert "manifest-service" not in _analyze("verify", "--man=no", "--recursive-errors=one", units / name)


def test_the_scan_is_confined(units: Path) -> None:
    # Of 100, where 0 is confined best; what is left is the network, which it reports over.
    _analyze("security", "--offline=yes", "--threshold=25", "--no-pager", units / "manifest-service-scan.service")
