"""native.c: OpenSSL's hashes, each with bytes fetched ahead. All release the interpreter's lock.

One thread at a time may use a hash: RuntimeError otherwise, and after its digest was taken.
"""

from _typeshed import ReadableBuffer

def new_hash(functions: ReadableBuffer, name: str, /) -> object:
    """Begin a hash. Raises ValueError where OpenSSL does not have it, or its policy bars it."""

def update(state: object, data: ReadableBuffer, /) -> None:
    """Take in bytes."""

def digest(state: object, /) -> bytes:
    """End, and give the digest."""

def digest_blocks(state: object, data: ReadableBuffer, block_size: int, digest_size: int, /) -> bytes:
    """Give the digests of all blocks of some data, one after the other.

    The hash must not have taken in anything. Raises ValueError for data that are no whole blocks.
    """
