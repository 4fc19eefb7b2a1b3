"""The units in etc/systemd, by systemd's own judgement."""

import subprocess
from pathlib import Path

import pytest

from tests.servers import programs
from tests.servers.service import EXECUTABLE

UNITS = Path(__file__).parents[2] / "etc" / "systemd"
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


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.iterdir() if path.suffix in (".service", ".timer")))
def test_units_are_sound(units: Path, name: str) -> None:
    assert "manifest-service" not in _analyze("verify", "--man=no", "--recursive-errors=one", units / name)


@pytest.mark.parametrize("name", ["api", "listener", "worker"])
def test_the_service_is_confined(units: Path, name: str) -> None:
    # Of 100, where 0 is confined best; what is left is the network, which it is there for.
    _analyze("security", "--offline=yes", "--threshold=20", "--no-pager", units / f"manifest-service-{name}.service")


def test_users_and_folders_are_sound() -> None:
    for program, kind in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        command: list[str | Path] = [
            programs.find(program, "systemd"),
            "--cat-config",
            UNITS / f"manifest-service.{kind}",
        ]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_scan_is_confined(units: Path) -> None:
    # Of 100, where 0 is confined best; what is left is the network, which it reports over.
    _analyze("security", "--offline=yes", "--threshold=25", "--no-pager", units / "manifest-service-scan.service")
