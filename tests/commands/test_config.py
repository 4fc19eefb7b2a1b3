"""The configuration: its sample is current, its mistakes are sentences."""

import subprocess
from pathlib import Path

import pytest

from manifest_service import config
from manifest_service.errors import UsageError
from tests.servers.service import EXECUTABLE

ROOT = Path(__file__).parents[2]


def test_the_sample_is_what_the_options_say(tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    subprocess.run([ROOT / "tools" / "generate-sample-config", sample], check=True, capture_output=True)

    assert sample.read_text() == (ROOT / "etc" / "manifest-service.conf.sample").read_text(), (
        "run tools/generate-sample-config"
    )


def test_the_example_can_be_read() -> None:
    conf = config.load([str(ROOT / "etc" / "manifest-service.conf")])

    assert conf.database.connection.startswith("postgresql+psycopg://")
    assert conf.listener.topics == ["notifications"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[worker]\nlease = soon\n", "lease"),
        ("[worker]\nlease = 0\n", "lease"),
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


def test_the_listener_needs_a_broker(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    subprocess.run([EXECUTABLE, "db", "upgrade"], env=environment, check=True, capture_output=True)

    done = subprocess.run([EXECUTABLE, "listener"], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "no broker is configured: set [DEFAULT] transport_url" in done.stderr
