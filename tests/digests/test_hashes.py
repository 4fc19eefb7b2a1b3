"""Hashes that fetch ahead: the same digests as hashlib's, with and without native code.

None of this is skipped where the native code is missing: the project's own environment is to have it.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.digests import hashes
from manifest_service.digests.hashes import BlockHash, new_hash

NATIVE = ("md5", "sha1", "sha256", "sha512")
DATA = memoryview(os.urandom(1 << 20))

SPANS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)), max_size=8)
"""Pieces of DATA that begin and end anywhere: (start, length) in bytes."""


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_native", lambda: None)


def blocks_by_hashlib(data: memoryview, size: int) -> bytes:
    return b"".join(hashlib.sha256(data[start : start + size]).digest() for start in range(0, len(data), size))


def test_native_code_is_built_and_used() -> None:
    assert all(isinstance(new_hash(name), hashes._NativeHash) for name in NATIVE)


@given(st.sampled_from(NATIVE), SPANS)
def test_pieces_of_any_length_give_the_digest_of_hashlib(name: str, spans: list[tuple[int, int]]) -> None:
    ours, expected = new_hash(name), hashlib.new(name)
    for start, length in spans:
        ours.update(DATA[start : start + length])
        expected.update(DATA[start : start + length])
    assert ours.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("name", NATIVE)
def test_a_large_piece_gives_the_digest_of_hashlib(name: str) -> None:
    ours = new_hash(name)
    ours.update(DATA)
    assert ours.hexdigest() == hashlib.new(name, DATA).hexdigest()


@pytest.mark.parametrize("name", [*NATIVE, "sha3_256", "blake3"])
@pytest.mark.usefixtures("without_native")
def test_without_native_code_it_is_the_same(name: str) -> None:
    ours = new_hash(name)
    ours.update(DATA)
    assert not isinstance(ours, hashes._NativeHash)
    if name != "blake3":
        assert ours.hexdigest() == hashlib.new(name, DATA).hexdigest()


@pytest.mark.parametrize("size", [1, 64, 1000, 4096, 65536])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_blocks_are_hashed_each_by_itself(size: int, count: int) -> None:
    data = DATA[: size * count]
    block_hash = BlockHash(size)
    for _ in range(2):
        assert block_hash.digests(data) == blocks_by_hashlib(data, size)


@pytest.mark.usefixtures("without_native")
def test_blocks_without_native_code_are_the_same() -> None:
    assert BlockHash(4096).digests(DATA) == blocks_by_hashlib(DATA, 4096)


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_what_are_no_whole_blocks_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="no whole blocks"):
        BlockHash(size).digests(DATA)


def test_nothing_is_taken_in_after_the_digest() -> None:
    ours = new_hash("sha256")
    ours.hexdigest()
    calls: list[Callable[[], object]] = [lambda: ours.update(DATA), ours.hexdigest]
    for call in calls:
        with pytest.raises(RuntimeError, match="has ended"):
            call()


def test_a_second_thread_is_refused_while_one_hashes() -> None:
    ours = new_hash("sha512")
    data = memoryview(bytes(16 << 20))
    is_refused = Event()
    taken_in = 0

    def hash_on() -> None:
        nonlocal taken_in
        while not is_refused.is_set():
            with suppress(RuntimeError):  # The other one may come first, too.
                ours.update(data)
                taken_in += 1

    def intrude() -> None:
        while thread.is_alive():
            ours.update(memoryview(b""))

    thread = Thread(target=hash_on)
    thread.start()
    with pytest.raises(RuntimeError, match="another thread"):
        intrude()
    is_refused.set()
    thread.join()
    assert ours.hexdigest() == hashlib.sha512(bytes(data) * taken_in).hexdigest()


def test_a_hash_that_openssl_does_not_have_or_allow_is_refused() -> None:
    native = hashes._native()
    assert native is not None
    with pytest.raises(ValueError, match="OpenSSL has no hash md4-of-nobody"):
        native.new_hash(hashes._functions(), "md4-of-nobody")


def test_where_policy_bars_a_hash_hashlib_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> object:
        raise ValueError("OpenSSL has no hash md5")

    monkeypatch.setattr(hashes, "_native", lambda: SimpleNamespace(new_hash=refuse))
    ours = new_hash("md5")
    ours.update(DATA)
    assert ours.hexdigest() == hashlib.md5(DATA).hexdigest()
