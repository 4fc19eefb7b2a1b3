"""docs/statements.md and docs/operating.md: complete, and their examples work."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manifest_service.attestations import envelope
from manifest_service.attestations.statement import write_payload
from manifest_service.manifests.audit import Kind
from tests.attestations.values import statement
from tests.builders import new_key
from tests.servers import programs

DOCS = Path(__file__).parents[2] / "docs"
STATEMENTS = (DOCS / "statements.md").read_text()


def example(language: str, about: str) -> str:
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", STATEMENTS, re.DOTALL) if about in text]
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the examples begin with."""
    key = new_key()
    signed = envelope.sign(write_payload(statement()), key)
    (tmp_path / "envelope.json").write_text(signed.as_text())
    (tmp_path / "key.pub.pem").write_text(key.public.pem)
    (tmp_path / "payload").write_bytes(signed.payload)
    (tmp_path / "signature").write_bytes(signed.signatures[0].value)
    return tmp_path


def test_every_member_of_a_statement_is_documented() -> None:
    document = json.loads(write_payload(statement()))

    for name in (*document, *document["predicate"], *document["predicate"]["glance"]):
        assert f"`{name}`" in STATEMENTS, name
    assert document["predicateType"] in STATEMENTS
    assert document["_type"] in STATEMENTS


def test_every_finding_of_an_audit_is_documented() -> None:
    for kind in Kind:
        assert f"`{kind}`" in (DOCS / "operating.md").read_text(), kind


@pytest.mark.slow
def test_the_example_with_securesystemslib_verifies(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", example("python", "securesystemslib")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert statement().cache_name in done.stdout


def test_the_example_with_openssl_verifies(folder: Path) -> None:
    programs.find("openssl", "openssl")
    # Without the lines that take the envelope apart with jq, which a fixture has done.
    commands = [line.removeprefix("$ ") for line in example("console", "openssl").splitlines() if line.startswith("$ ")]
    script = "\n".join(command for command in commands if not command.startswith("jq"))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)

    assert "Successfully" in run().stdout
    payload = folder / "payload"
    payload.write_bytes(payload.read_bytes().replace(b"25165824", b"25165825"))
    assert run().returncode != 0
