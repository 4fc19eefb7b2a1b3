"""Ctrl-C so early that the command line is still being imported."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.service import EXECUTABLE


@pytest.mark.parametrize("command", [[EXECUTABLE], [sys.executable, "-m", "manifest_service"]])
def test_while_importing_it_ends_the_process_without_a_traceback(command: list[str | Path], tmp_path: Path) -> None:
    # Stands in for a library of ours, so that the moment is always the same.
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")

    ended = subprocess.run(
        [*command, "--version"], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_where_it_is_ignored_it_stays_so(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)\n")

    ended = subprocess.run(
        ["sh", "-c", "trap '' INT; exec \"$0\"", EXECUTABLE],
        env={"PYTHONPATH": str(tmp_path)},
        check=False,
    )

    assert ended.returncode == 7
