"""Plain hashes of bytes: OpenSSL's by native.c, where this installation has it, otherwise the same by hashlib."""

from __future__ import annotations

import _hashlib
import ctypes
import hashlib
import importlib
from functools import cache
from types import ModuleType
from typing import Protocol

from blake3 import blake3

_NATIVE = ("md5", "sha1", "sha256", "sha512")
"""What is hashed by native.c: the names that Glance and we use, of those that OpenSSL and hashlib call the same."""

_FUNCTIONS = (
    "EVP_get_digestbyname",
    "EVP_MD_CTX_new",
    "EVP_MD_CTX_free",
    "EVP_DigestInit_ex",
    "EVP_DigestUpdate",
    "EVP_DigestFinal_ex",
)
"""In the order in which native.c has them."""

_SAMPLE = bytes(range(256)) * 80


class Hash(Protocol):
    """A hash of bytes in the making, for one thread at a time."""

    def update(self, data: memoryview, /) -> object:
        """Take in bytes."""
        ...

    def hexdigest(self) -> str:
        """Give the result. Nothing more may be taken in then."""
        ...


def new_hash(algorithm: str) -> Hash:
    """Begin a hash: one of hashlib's, or blake3. Raises ValueError for another name."""
    if algorithm == "blake3":
        return blake3()
    native = _native() if algorithm in _NATIVE else None
    if native is not None:
        try:
            return _NativeHash(native, algorithm)
        except ValueError:  # The system's policy bars it, except for uses like ours, which hashlib can tell it of.
            pass
    # Not for security: md5 and sha1 are what Glance and older tools recorded, also where policy bars their other uses.
    return hashlib.new(algorithm, usedforsecurity=False)


class BlockHash:
    """SHA-256 of each of many blocks of one size."""

    def __init__(self, block_size: int) -> None:
        """block_size: bytes."""
        self._size = block_size
        self._native = _native()
        self._state = self._native.new_hash(_functions(), "sha256") if self._native else None

    def digests(self, view: memoryview) -> bytes:
        """The digests of whole blocks, 32 bytes each, one after the other."""
        if self._native is not None:
            digests: bytes = self._native.digest_blocks(self._state, view, self._size, 32)
            return digests
        blocks = (view[start : start + self._size] for start in range(0, len(view), self._size))
        return b"".join(hashlib.sha256(block).digest() for block in blocks)


class _NativeHash:
    def __init__(self, native: ModuleType, algorithm: str) -> None:
        self._native = native
        self._state = native.new_hash(_functions(), algorithm)

    def update(self, data: memoryview) -> None:
        self._native.update(self._state, data)

    def hexdigest(self) -> str:
        digest: bytes = self._native.digest(self._state)
        return digest.hex()


@cache
def _native() -> ModuleType | None:
    """native.c. None if it was not built, or Python has its OpenSSL where no other can find it."""
    try:
        native = importlib.import_module("manifest_service.digests.native")
        state = native.new_hash(_functions(), "sha256")
    except (ImportError, OSError, AttributeError, ValueError):
        return None
    native.update(state, _SAMPLE)
    works = native.digest(state) == hashlib.sha256(_SAMPLE).digest()
    return native if works else None


@cache
def _functions() -> ctypes.Array[ctypes.c_void_p]:
    """Addresses of OpenSSL's functions, as hashlib's own module finds them: in what that is linked with."""
    library = ctypes.CDLL(_hashlib.__file__)
    addresses = (ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in _FUNCTIONS)
    return (ctypes.c_void_p * len(_FUNCTIONS))(*addresses)
