"""docs/codes.md explains every code that the API answers with, in its own section."""

import re
from pathlib import Path

import pytest

from api import problems
from manifest_service.errors import StatementCode

ROOT = Path(__file__).parents[2]
_SECTION = (ROOT / "docs" / "codes.md").read_text().partition("\n## The API\n")[2].partition("\n## ")[0]
EXPLAINED = set(re.findall(r"^\| `([a-z0-9-]+)` \| [1-5]\d\d ", _SECTION, re.MULTILINE))


def codes_of_resources() -> set[str]:
    """Each code that stands behind a status in a resource: `HTTPStatus.X, "code"`."""
    sources = "".join(path.read_text() for path in (ROOT / "api").rglob("*.py"))
    return set(re.findall(r'HTTPStatus\.[A-Z_]+,\s+"([a-z0-9-]+)"', sources))


def test_codes_are_found() -> None:
    assert {"unknown-marker", "image-deleted", "database-away"} <= codes_of_resources()


@pytest.mark.parametrize(
    "code",
    sorted(
        codes_of_resources()
        | set(problems._CODES.values())
        | {StatementCode.NO_STATEMENT, StatementCode.MANIFEST_TAMPERED}
    ),
)
def test_every_code_is_explained(code: str) -> None:
    assert code in EXPLAINED
