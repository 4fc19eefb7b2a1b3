"""docs/events.md has every kind of event, and none that is gone."""

import re

from manifest_service.manifests.states import EventKind
from tests.docs.codes import ROOT


def test_the_kinds_are_documented_as_they_are() -> None:
    page = (ROOT / "docs" / "events.md").read_text()

    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == sorted(EventKind)
