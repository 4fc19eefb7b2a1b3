"""Digests as values."""

import pytest

from manifest_service.digests.digest import Digest


def test_is_written_algorithm_colon_hex() -> None:
    digest = Digest("sha256", "ab" * 32)
    assert str(digest) == "sha256:" + "ab" * 32
    assert Digest.parse(str(digest)) == digest
    assert len({digest, Digest.parse(str(digest))}) == 1


def test_keeps_to_the_first_colon() -> None:
    assert Digest.parse("fsverity-sha256:00ff").algorithm == "fsverity-sha256"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        ":",
        "sha256:",
        ":ab",
        "sha256:abc",
        "sha256:AB",
        "SHA256:ab",
        "sha256: ab",
        "sha256:ab\n",
        "a b:cd",
    ],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Digest.parse(text)
