"""Tables of 64-bit words, as qcow2 keeps them: big-endian."""

from __future__ import annotations

import sys
from array import array

from manifest_service.disks.source import Source, read_padded


def read_words(source: Source, offset: int, count: int) -> array[int]:
    """Read `count` words from byte `offset`; those past the end of the source are 0."""
    return to_words(read_padded(source, offset, count * 8))


def to_words(data: bytearray) -> array[int]:
    """Take bytes for words. An array costs a tenth of what unpacking to a tuple costs."""
    words = array("Q", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words
