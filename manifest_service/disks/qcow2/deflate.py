"""Clusters that are compressed as raw deflate streams (RFC 1951), by zlib-ng.

zlib-ng is faster than zlib and judges every stream as zlib does, and so as qemu does. ISA-L and libdeflate are faster
still, but accept streams that zlib refuses: those whose Huffman codes leave bits without a meaning (RFC 1951, 3.2.7). A
digest of what qemu will not convert would be a wrong one.

Output that would go on after a full cluster is fine, as it is for qemu. Zeros past the end of the file are part of the
input: what follows a full cluster can still be found faulty.
"""

from __future__ import annotations

from zlib_ng import zlib_ng

from manifest_service.disks.qcow2.compression import ClusterError

_WINDOW_BITS = -15
"""Raw deflate. qemu passes -12, but as it inflates to one buffer in one call, distances up to 2^15 work there."""


class Inflater:
    """Inflates by zlib-ng's Python interface, which gives bytes of its own: they are copied to their place."""

    def __init__(self, cluster_size: int, data: memoryview, output: memoryview) -> None:
        self._cluster_size = cluster_size
        self._data = data
        self._output = output

    def __call__(self, place: int, size: int, padding: int, position: int) -> None:
        decoder = zlib_ng.decompressobj(_WINDOW_BITS)
        try:
            cluster = decoder.decompress(self._data[place : place + size], self._cluster_size)
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub says that it is an instance
            raise ClusterError(_INVALID) from error
        if len(cluster) < self._cluster_size:
            raise _too_short(len(cluster), self._cluster_size)
        if len(decoder.unused_data or decoder.unconsumed_tail) < padding:
            raise ClusterError(_PAST_END)
        self._output[position : position + self._cluster_size] = cluster


_INVALID = "the deflate stream is invalid"
_PAST_END = "the deflate stream goes on past the end of the file"


def _too_short(length: int, size: int) -> ClusterError:
    return ClusterError(f"the deflate stream gives {length} of {size} bytes")
