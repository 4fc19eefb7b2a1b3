"""Clusters that are compressed as raw deflate streams (RFC 1951), by zlib-ng.

zlib-ng is faster than zlib and judges every stream as zlib does, and so as qemu does. ISA-L and libdeflate are faster
still, but accept streams that zlib refuses: those whose Huffman codes leave bits without a meaning (RFC 1951, 3.2.7). A
digest of what qemu will not convert would be a wrong one.

Output that would go on after a full cluster is fine, as it is for qemu. Zeros past the end of the file are part of the
input: what follows a full cluster can still be found faulty.
"""

from __future__ import annotations

import ctypes
from functools import cache

from zlib_ng import zlib_ng

from manifest_service.disks.qcow2.compression import ClusterError, Decompressor

_WINDOW_BITS = -15
"""Raw deflate. qemu passes -12, but as it inflates to one buffer in one call, distances up to 2^15 work there."""

_NO_OUTPUT_LEFT = -5
_STREAM_END = 1
_FINISH = 4
"""Z_BUF_ERROR, Z_STREAM_END and Z_FINISH of zlib.h."""


def inflater(cluster_size: int, data: memoryview, output: memoryview) -> Decompressor:
    """Make the faster one of both that this installation has."""
    library = native_library()
    if library is None:
        return BindingInflater(cluster_size, data, output)
    return NativeInflater(library, cluster_size, data, output)


class BindingInflater:
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


class _Stream(ctypes.Structure):
    """`zng_stream` of zlib-ng.h: where the next input lies and the next output goes."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint32),
        ("total_in", ctypes.c_size_t),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint32),
        ("total_out", ctypes.c_size_t),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_uint32),
        ("reserved", ctypes.c_ulong),
    )


@cache
def native_library() -> ctypes.CDLL | None:
    """zlib-ng's own C interface, where the installed wheel exports it and its stream is laid out as ours is.

    Inflating from memory to memory by it takes a tenth less time than by the Python interface (docs/performance.md).
    """
    try:
        library = ctypes.CDLL(zlib_ng.__file__)
        version = library.zlibng_version
        functions = (library.zng_inflateInit2_, library.zng_inflateReset, library.zng_inflate, library.zng_inflateEnd)
    except (OSError, AttributeError):
        return None
    version.restype = ctypes.c_char_p
    for function in functions:
        function.restype = ctypes.c_int
    stream = _Stream()
    if not _begin(library, stream):
        return None
    library.zng_inflateEnd(ctypes.byref(stream))
    return library


def _begin(library: ctypes.CDLL, stream: _Stream) -> bool:
    """Have zlib-ng set up a stream: it refuses one whose size is another than it was built with."""
    init, size = library.zng_inflateInit2_, ctypes.c_int(ctypes.sizeof(_Stream))
    done: int = init(ctypes.byref(stream), ctypes.c_int(_WINDOW_BITS), library.zlibng_version(), size)
    return done == 0


class NativeInflater:
    """Inflates by zlib-ng's C interface, as qemu calls zlib: one call a cluster, from memory to memory."""

    def __init__(self, library: ctypes.CDLL, cluster_size: int, data: memoryview, output: memoryview) -> None:
        self._cluster_size = cluster_size
        self._data_size, self._output_size = len(data), len(output)
        # They also keep the memory of both buffers alive.
        self._data = (ctypes.c_char * len(data)).from_buffer(data)
        self._output = (ctypes.c_char * len(output)).from_buffer(output)
        self._data_start, self._output_start = ctypes.addressof(self._data), ctypes.addressof(self._output)
        self._stream = _Stream()
        self._reference = ctypes.byref(self._stream)
        self._inflate, self._reset, self._end = library.zng_inflate, library.zng_inflateReset, library.zng_inflateEnd
        if not _begin(library, self._stream):
            raise MemoryError

    def __call__(self, place: int, size: int, padding: int, position: int) -> None:
        if place + size > self._data_size or position + self._cluster_size > self._output_size:
            raise IndexError("a cluster is said to lie outside of its buffers")
        stream = self._stream
        self._reset(self._reference)
        stream.next_in, stream.avail_in = self._data_start + place, size
        stream.next_out, stream.avail_out = self._output_start + position, self._cluster_size
        outcome = self._inflate(self._reference, _FINISH)
        if outcome not in (_STREAM_END, _NO_OUTPUT_LEFT):
            raise ClusterError(_INVALID)
        if stream.avail_out:
            raise _too_short(self._cluster_size - stream.avail_out, self._cluster_size)
        if stream.avail_in < padding:
            raise ClusterError(_PAST_END)

    def __del__(self) -> None:
        self._end(self._reference)


_INVALID = "the deflate stream is invalid"
_PAST_END = "the deflate stream goes on past the end of the file"


def _too_short(length: int, size: int) -> ClusterError:
    return ClusterError(f"the deflate stream gives {length} of {size} bytes")
