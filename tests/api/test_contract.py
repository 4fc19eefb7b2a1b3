"""The API keeps what its OpenAPI document says: schemathesis makes requests from it and judges the answers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from manifest_service.manifests.database import Database
from tests.api import contract_checks
from tests.api.client import Client
from tests.builders import claimed, computed, finish, observation, observe

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_answer_is_one_that_is_described(
    local: Database, serve_api: Callable[..., Client], tmp_path: Path
) -> None:
    observe(local, observation())
    finish(local, claimed(local), computed(block_map="<?xml version='1.0'?>\n<bmap/>\n"))

    run = subprocess.run(
        [
            SCHEMATHESIS,
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{serve_api(local).url}/v1/openapi.json",
            "--checks=all",
            "--exclude-checks=positive_data_acceptance",
            "--max-examples=40",
            "--seed=1",  # CI is no place to look for what nobody has found yet: give others by hand.
            "--request-timeout=60",
            "--no-color",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": contract_checks.__name__,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
