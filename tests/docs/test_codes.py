"""docs/codes.md has every code, and none that is gone."""

import re
from collections.abc import Collection

import pytest

from manifest_service.errors import DownloadCode, FailureCode, RefusalCode, StatementCode
from manifest_service.manifests.audit import Kind
from manifest_service.manifests.imports import Outcome
from manifest_service.processing import reconcile
from manifest_service.processing.bundle import PassedOver
from manifest_service.processing.importing import Odd
from manifest_service.verdicts import Verdict
from tests.docs.codes import ROOT, enumerated_codes, raised_codes

PAGE = (ROOT / "docs" / "codes.md").read_text()


def documented(title: str = "") -> list[str]:
    """The first column of the tables below a title, or of all tables."""
    text = PAGE if not title else PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        ("Images that are refused", RefusalCode),
        ("Images that failed", {*FailureCode, StatementCode.MANIFEST_TAMPERED}),
        ("Fetching", DownloadCode),
        ("Verdicts of nodes", Verdict),
        ("Findings of an audit", Kind),
        ("Lines of an import", {*Outcome, *PassedOver, *Odd}),
        ("Deletions that are held back", {reconcile.NOT_ADMIN, reconcile.TOO_MANY_GONE}),
    ],
)
def test_a_family_is_documented_as_it_is(title: str, codes: Collection[str]) -> None:
    assert sorted(documented(title)) == sorted(map(str, codes))


def test_every_code_is_documented() -> None:
    assert raised_codes() | enumerated_codes() <= set(documented())


def test_no_code_is_documented_that_is_gone() -> None:
    others = {str(word) for family in (Verdict, Kind, Outcome, PassedOver, Odd) for word in family}

    assert set(documented()) <= raised_codes() | enumerated_codes() | others


def test_codes_are_found_where_errors_are_raised() -> None:
    assert {"bad-configuration", "bad-manifest", "too-many-keys", "duty-held", "database-away"} <= raised_codes()
