"""The API with TLS, as etc/tls has it served by gunicorn, and a node's commands that talk to it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.intake import cache_name_of
from tests.builders import IMAGE_ID, claim, computed, finish, observation, observe
from tests.servers.authority import Authority
from tests.servers.service import EXECUTABLE, write_config
from tests.servers.tls import Gunicorn

pytestmark = [pytest.mark.slow, pytest.mark.servers]

ZEROS = "de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31"
"""SHA-256 of 64 KiB of them."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def served(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder = tmp_path_factory.mktemp("tls")
    url = f"sqlite:///{folder}/manifests.sqlite"
    database = Database(url)
    schema.upgrade(database)
    observe(database, observation())
    task = claim(database)
    assert task is not None
    finish(database, task, computed(virtual_size=65536, digests={"sha256": ZEROS}))
    database.close()
    config = write_config(folder / "api.conf", {"database": {"connection": url}})
    with Gunicorn(folder / "gunicorn", authority, config) as server:
        yield server


def run(served: Gunicorn, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    file = folder / cache_name_of(IMAGE_ID)
    file.write_bytes(bytes(65536))
    return subprocess.run(
        [EXECUTABLE, "verify", "--url", served.url, "--json", *arguments, str(file)],
        env={"HOME": str(folder), "PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_node_that_trusts_the_authority(served: Gunicorn, authority: Authority, tmp_path: Path) -> None:
    by_option = run(served, tmp_path, "--cacert", str(authority.certificate))
    by_variable = run(served, tmp_path, OS_CACERT=str(authority.certificate))

    for done in (by_option, by_variable):
        assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "match"), done.stderr


def test_a_node_that_trusts_another(served: Gunicorn, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another").certificate
    cases = [run(served, tmp_path), run(served, tmp_path, "--cacert", str(other))]
    cases.append(run(served, tmp_path, "--cacert", str(tmp_path / "missing.pem")))

    for done in cases:
        assert done.returncode == 2
        assert "manifest-service: bad-certificate: " in done.stderr
        assert "--cacert" in done.stderr
        assert "Traceback" not in done.stderr
