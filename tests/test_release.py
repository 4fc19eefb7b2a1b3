"""What is handed out: release notes, the changelog, the version, and the Containerfile."""

import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from manifest_service import __version__
from tests.servers import programs

ROOT = Path(__file__).parents[1]
NOTES = sorted((ROOT / "releasenotes" / "notes").iterdir())

_SECTIONS = {"prelude", "features", "upgrade", "deprecations", "security", "fixes", "issues", "critical", "other"}


def test_the_version_is_a_semantic_one() -> None:
    """https://semver.org/, without build metadata."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9a-z.-]+)?", __version__)


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_a_release_note_can_be_read(path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{16}\.yaml", path.name)
    note = yaml.safe_load(path.read_text())
    assert set(note) <= _SECTIONS
    assert all(isinstance(entry, str) for section, entries in note.items() if section != "prelude" for entry in entries)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "told"), [("audit", "Nothing was audited: "), ("outdated", "Nothing was compared: ")]
)
def test_whoever_can_ask_nobody_about_dependencies_is_told(target: str, told: str, tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    if not (folder / "pip-audit").exists():
        programs.missing("only development has pip-audit: pip install -e '.[dev]'")
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    # -o: the environment is taken as it is.
    command = ["make", "-o", ".venv/for-development", f"BIN={folder}", target]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | nowhere | own, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith(told)


@pytest.mark.slow
def test_reno_finds_nothing_wrong() -> None:
    reno = Path(sys.executable).with_name("reno")
    if not reno.exists() or not (ROOT / ".git").exists():
        pytest.skip("reno reads the notes from git: pip install -e '.[dev]' in a clone")
    subprocess.run([reno, "-q", "lint"], cwd=ROOT, check=True)


def _instructions(name: str) -> list[str]:
    parser = DockerfileParser(fileobj=BytesIO((ROOT / "Containerfile").read_bytes()))
    return [each["value"] for each in parser.structure if each["instruction"] == name]


def test_the_container_is_made_in_two_steps_and_does_not_run_as_root() -> None:
    assert len(_instructions("FROM")) == 2
    assert int(_instructions("USER")[-1]) > 0
    assert _instructions("HEALTHCHECK")
    assert "org.opencontainers.image.licenses" in _instructions("LABEL")[0]


def test_the_container_installs_only_what_is_pinned() -> None:
    commands = _instructions("RUN")

    assert not any(re.search(r"curl|wget|\bgit\b", command) for command in commands)
    installs = [command for command in commands if "pip " in command]
    assert len(installs) == 2
    assert "--constraint constraints.txt" in installs[0]
    assert "--no-index --find-links /wheels" in installs[1]


def test_the_container_is_of_this_version() -> None:
    assert f"VERSION={__version__}" in _instructions("ARG")
