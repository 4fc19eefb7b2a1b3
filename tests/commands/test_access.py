"""As whom a node asks: by clouds.yaml, variables and tokens of a real Keystone, and what it is told otherwise."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import yaml

from manifest_service.commands.cloud import CloudAccess
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.intake import cache_name_of
from manifest_service.node.api_manifests import ApiClient, ApiManifests
from tests.builders import IMAGE_ID, claim, computed, finish, observation, observe
from tests.servers.keystone import PASSWORD, Keystone
from tests.servers.service import EXECUTABLE, ApiProcess


@pytest.fixture(scope="module")
def cloud(keystone_server: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An API behind Keystone with a ready image of 64 KiB of zeros, and its file in a `_base` folder."""
    keystone_server.start()
    folder = tmp_path_factory.mktemp("cloud")
    url = f"sqlite:///{folder}/manifests.sqlite"
    database = Database(url)
    schema.upgrade(database)
    observe(database, observation(owner="another", visibility="private"))
    task = claim(database)
    assert task is not None
    zeros = "de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31"
    finish(database, task, computed(virtual_size=65536, digests={"sha256": zeros}))
    database.close()
    base = folder / "_base"
    base.mkdir()
    (base / cache_name_of(IMAGE_ID)).write_bytes(bytes(65536))
    settings = {**keystone_server.service_config(), "database": {"connection": url}}
    settings["keystone_authtoken"] |= {"token_cache_time": "-1"}  # What is revoked is so at once.
    with ApiProcess(folder / "process", settings) as process:
        process.start()
        yield SimpleNamespace(url=process.url, base=base, keystone=keystone_server)


def write_clouds(folder: Path, **clouds: Mapping[str, object]) -> Path:
    path = folder / "clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": clouds}))
    return path


def run(command: str, *arguments: object, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [EXECUTABLE, command, *map(str, arguments)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_an_application_credential_in_clouds_yaml(cloud: SimpleNamespace, tmp_path: Path) -> None:
    made = cloud.keystone.application_credential("service-ours")
    auth = {"auth_url": cloud.keystone.url, **made}
    write_clouds(tmp_path, node={"auth_type": "v3applicationcredential", "auth": auth})

    done = run("scan", "--url", cloud.url, "--os-cloud", "node", "--json", cloud.base, home=tmp_path)

    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "match"), done.stderr


def test_variables_and_a_report(cloud: SimpleNamespace, tmp_path: Path) -> None:
    variables = cloud.keystone.environment_of("service-ours")

    done = run("scan", "--url", cloud.url, "--report", "--node", "n1", cloud.base, home=tmp_path, **variables)

    assert done.returncode == 0, done.stderr
    headers = {"X-Auth-Token": cloud.keystone.token("auditor-ours")}
    listed = requests.get(f"{cloud.url}/v1/verifications", headers=headers, timeout=30).json()["verifications"]
    assert listed[0]["reported_by"] == cloud.keystone.users["service-ours"].user_id


def test_a_token_that_somebody_else_got(cloud: SimpleNamespace, tmp_path: Path) -> None:
    token = cloud.keystone.token("service-ours")

    done = run("verify", "--url", cloud.url, *cloud.base.iterdir(), home=tmp_path, OS_TOKEN=token)

    assert done.returncode == 0, done.stderr


def test_what_a_node_is_told_that_is_not_let_in(cloud: SimpleNamespace, tmp_path: Path) -> None:
    """Each with its code and the next step, and none with a secret."""
    keystone = cloud.keystone
    bad = {**keystone.environment_of("service-ours"), "OS_PASSWORD": "a-SECRET"}
    cases = [
        ("not-authenticated", ["scan", "--url", cloud.url, cloud.base], {}),
        ("not-authenticated", ["scan", "--url", cloud.url, cloud.base], {"OS_TOKEN": "a-SECRET"}),
        ("not-authenticated", ["scan", "--url", cloud.url, cloud.base], bad),
        ("bad-cloud", ["scan", "--url", cloud.url, "--os-cloud", "nowhere", cloud.base], {}),
        ("not-allowed", ["export", "--url", cloud.url], keystone.environment_of("reader-ours")),
    ]
    for code, (command, *arguments), variables in cases:
        done = run(command, *arguments, home=tmp_path, **variables)
        assert done.returncode == 2, done.stderr
        assert f"manifest-service: {code}: " in done.stderr
        assert len(done.stderr.strip().splitlines()) >= 2, "the next step is missing"
        assert "SECRET" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_reader_s_scan_does_not_know_the_images_of_others(cloud: SimpleNamespace, tmp_path: Path) -> None:
    variables = cloud.keystone.environment_of("reader-ours")

    done = run("scan", "--url", cloud.url, "--json", cloud.base, home=tmp_path, **variables)

    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (5, "unknown")


def test_keystone_that_is_away_leaves_files_unchecked(cloud: SimpleNamespace, tmp_path: Path) -> None:
    variables = {**cloud.keystone.environment_of("service-ours"), "OS_AUTH_URL": "http://127.0.0.1:9/v3"}

    done = run("scan", "--url", cloud.url, "--json", cloud.base, home=tmp_path, **variables)

    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "failed")
    assert "Keystone cannot be asked" in json.loads(done.stdout)["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["clouds: {a: {auth: {password: 'a-SECRET", "[]", "clouds: {a: 7}", "\x00"])
def test_clouds_yaml_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text(text)

    done = run("scan", "--os-cloud", "a", tmp_path, home=tmp_path)

    assert done.returncode == 2, done.stderr
    assert "manifest-service: bad-cloud: " in done.stderr
    assert "SECRET" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_is_kept_and_renewed_when_it_is_refused(
    cloud: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auth_url": cloud.keystone.url, **cloud.keystone.credentials("service-ours")}
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(write_clouds(tmp_path, node={"auth": auth})))
    access = CloudAccess("node")
    manifests = ApiManifests(ApiClient(cloud.url, access))
    first = access.headers()["X-Auth-Token"]

    assert manifests.find_by_cache_names([cache_name_of(IMAGE_ID)])
    assert access.headers()["X-Auth-Token"] == first

    cloud.keystone.revoke(first)
    assert manifests.find_by_cache_names([cache_name_of(IMAGE_ID)])
    assert access.headers()["X-Auth-Token"] != first
    assert PASSWORD not in repr(access)
