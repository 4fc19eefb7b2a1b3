"""native_descriptors.c: what descriptors.py does, many entries at a time. Raise ValueError for what fits no array."""

from _typeshed import ReadableBuffer

def read_descriptors(entries: ReadableBuffer, first: int, cluster_bits: int, /) -> tuple[bytes, bytes, int]:
    """Read the descriptors from the entry `first` up to the first that is none: offsets of 64 bits each, sizes of 32,
    and the highest offset, 0 where there is none.
    """

def find_extent(offsets: ReadableBuffer, sizes: ReadableBuffer, /) -> tuple[int, int]:
    """Where the first of one or more clusters begins, and the last of them ends."""
