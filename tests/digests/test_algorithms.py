"""The algorithms that can be asked for."""

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.digests import algorithms
from manifest_service.errors import UsageError

PIECES = st.lists(st.one_of(st.binary(max_size=100), st.integers(0, 3 << 20)), max_size=6)


@pytest.mark.parametrize("name", ["sha256", "sha512", "sha1", "md5", "sha3_256", "blake2b", "blake3"])
def test_the_usual_ones_are_there(name: str) -> None:
    assert name in algorithms.available()
    assert algorithms.check([name]) == (name,)


@pytest.mark.parametrize("name", algorithms.flat())
def test_each_flat_one_gives_a_digest(name: str) -> None:
    digest = algorithms.new_digest(name)
    digest.data(memoryview(b"abc"))
    digest.zeros(3)
    expected = blake3 if name == "blake3" else getattr(hashlib, name)
    assert digest.hexdigest() == expected(b"abc\0\0\0").hexdigest()


@given(PIECES)
def test_data_and_zeros_are_one_stream(pieces: list[bytes | int]) -> None:
    digest = algorithms.new_digest("sha256")
    expected = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, bytes):
            digest.data(memoryview(piece))
            expected.update(piece)
        else:
            digest.zeros(piece)
            expected.update(bytes(piece))
    assert digest.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("name", ["", "sha-256", "SHA256", "shake_128", "crc32", "\x1b[31m"])
def test_unknown_names_are_told_with_those_there_are(name: str) -> None:
    for call in (algorithms.new_digest, lambda name: algorithms.check([name])):
        with pytest.raises(UsageError, match=r"sha256, .*sha512") as caught:
            call(name)
        assert caught.value.code == "unknown-algorithm"
        assert caught.value.reason.isprintable()


def test_each_name_counts_once() -> None:
    assert algorithms.check(["md5", "sha256", "md5"]) == ("md5", "sha256")
