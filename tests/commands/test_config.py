"""The configuration: its sample is current, its mistakes are sentences."""

import os
import subprocess
from pathlib import Path

import pytest

from manifest_service import config
from manifest_service.errors import UsageError
from manifest_service.state_folder import state_folder
from tests.servers.service import EXECUTABLE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_sample_is_what_the_options_say(tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    subprocess.run([ROOT / "tools" / "generate-sample-config", sample], check=True, capture_output=True)

    assert sample.read_text() == (ROOT / "etc" / "manifest-service.conf.sample").read_text(), (
        "run tools/generate-sample-config"
    )


def test_the_sample_of_policies_is_what_the_rules_say(tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    subprocess.run([ROOT / "tools" / "generate-sample-policy", sample], check=True, capture_output=True)

    assert sample.read_text() == (ROOT / "etc" / "policy.yaml.sample").read_text(), "run tools/generate-sample-policy"


def test_the_example_can_be_read() -> None:
    conf = config.load([str(ROOT / "etc" / "manifest-service.conf")])

    assert conf.database.connection.startswith("postgresql+psycopg://")
    assert conf.listener.topics == ["notifications"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[worker]\nlease = soon\n", "lease"),
        ("[worker]\nlease = 0\n", "lease"),
        ("[worker]\nlease = nan\n", "lease is nan"),
        ("[limits]\ncomputation_time = inf\n", "computation_time"),
        ("[api]\nauth_strategy = magic\n", "auth_strategy"),
        ("no section", "section"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest-service.conf"
    file.write_text(text)

    with pytest.raises(UsageError, match=told) as caught:
        config.load([str(file)])

    assert caught.value.code == "bad-configuration"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["worker", "--config-file", "/no/such.conf"], "bad-configuration"),
        (["worker", "--config-file", "/"], "bad-configuration"),
        (["worker", "--config-file", "/dev/null/x"], "bad-configuration"),
        (["listener"], "schema-not-current"),
        (["api"], "schema-not-current"),
        (["--config-file", "/no/such.conf", "api"], "bad-configuration"),
    ],
)
def test_commands_end_with_a_sentence_and_exit_code_2(arguments: list[str], code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [EXECUTABLE, *arguments],
        env={"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert f"manifest-service: {code}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_unit_of_systemd_state_lies_in_the_folder_of_the_unit(tmp_path: Path) -> None:
    # The user of the units has no home.
    environment = {"HOME": "/nowhere", "STATE_DIRECTORY": f"{tmp_path}:/the/second/of/two"}
    subprocess.run([EXECUTABLE, "db", "upgrade"], env=environment, check=True, capture_output=True)

    assert (tmp_path / "manifests.sqlite").exists()


def test_a_user_without_a_home_has_the_folder_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a user whom it does not know."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)

    assert state_folder() == Path("/var/lib/manifest-service")


def test_a_folder_that_cannot_be_made_is_named() -> None:
    environment = {"HOME": "/proc/nobody"}
    done = subprocess.run([EXECUTABLE, "status"], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "'/proc/nobody', cannot be made: No such file" in done.stderr
    assert "[DEFAULT] state_path" in done.stderr


def test_the_listener_needs_a_broker(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    subprocess.run([EXECUTABLE, "db", "upgrade"], env=environment, check=True, capture_output=True)

    done = subprocess.run([EXECUTABLE, "listener"], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "no broker is configured: set [DEFAULT] transport_url" in done.stderr


@pytest.mark.parametrize("digests", ["algorithms =", "algorithms = sha257", "flat_virtual_size = 1\nalgorithms = md5"])
def test_a_worker_without_a_digest_to_compute_does_not_start(digests: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    file = tmp_path / "worker.conf"
    file.write_text(f"[digests]\n{digests}\n")
    subprocess.run([EXECUTABLE, "db", "upgrade"], env=environment, check=True, capture_output=True)

    command = [str(EXECUTABLE), "worker", "--config-file", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "-algorithm: " in done.stderr


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("[database]\nconnection = sqlite:////sys/manifests.sqlite", "bad-configuration"),
        ("[database]\nconnection = sqlite:////proc/version", "bad-configuration"),
        ("[database]\nconnection = postgresql+psycopg://u:SECRET@127.0.0.1:port/x", "bad-configuration"),
        ("[DEFAULT]\ntransport_url = rabbit://u:SECRET/x@127.0.0.1:1/", "bad-configuration"),
        ("[DEFAULT]\ntransport_url = rabbit://u:SECRET@127.0.0.1:port/", "bad-configuration"),
        ("[DEFAULT]\ntransport_url = kafka://u:SECRET@127.0.0.1:1/", "not-installed"),
    ],
)
def test_a_place_that_is_none_is_told_without_the_password(option: str, code: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    file = tmp_path / "listener.conf"
    file.write_text(option)
    subprocess.run([EXECUTABLE, "db", "upgrade"], env=environment, check=True, capture_output=True)

    command = [str(EXECUTABLE), "listener", "--config-file", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    assert f"manifest-service: {code}: " in done.stderr
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "SECRET" not in done.stderr + done.stdout
