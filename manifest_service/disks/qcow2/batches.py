"""Whole batches of clusters by native.c, where this installation has it: its libraries, and whether they do."""

from __future__ import annotations

import ctypes
import importlib
import zlib
from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec

import zstandard
from zlib_ng import zlib_ng

from manifest_service.disks.runs import CompressionMethod

BatchDecompressor = Callable[
    [memoryview, memoryview, int, "array[int]", "array[int]", "array[int]", "array[int]", int, int], int
]
"""See native.pyi."""

_ZLIB = ("zlibng_version", "zng_inflateInit2_", "zng_inflateReset", "zng_inflate", "zng_inflateEnd")
_ZSTD = (
    "ZSTD_createDCtx",
    "ZSTD_freeDCtx",
    "ZSTD_getFrameContentSize",
    "ZSTD_findFrameCompressedSize",
    "ZSTD_decompressDCtx",
    "ZSTD_isError",
)
"""In the order in which native.c has them."""

_SAMPLE = b"What comes out must be what went in. " * 20


@cache
def batch_decompressor(method: CompressionMethod) -> BatchDecompressor | None:
    """The native way to decompress clusters. None if it was not built, or a package does not export its library."""
    try:
        native = importlib.import_module("manifest_service.disks.qcow2.native")
        if method == "zlib":
            decompress = partial(native.inflate, _addresses(zlib_ng.__file__, _ZLIB))
        else:
            # The package has two modules with the same library inside; this one exports it.
            spec = find_spec("zstandard._cffi")
            decompress = partial(native.decompress, _addresses(spec.origin if spec else None, _ZSTD))
    except (ImportError, OSError, AttributeError):
        return None
    return decompress if _works(decompress, method) else None


def _addresses(path: str | None, names: Sequence[str]) -> ctypes.Array[ctypes.c_void_p]:
    """Addresses of functions in a shared library. It stays loaded: ctypes never unloads one."""
    if path is None:
        raise OSError("there is no such library")
    library = ctypes.CDLL(path)
    addresses = (ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in names)
    return (ctypes.c_void_p * len(names))(*addresses)


def _works(decompress: BatchDecompressor, method: CompressionMethod) -> bool:
    if method == "zlib":
        compressor = zlib.compressobj(wbits=-15)
        data = compressor.compress(_SAMPLE) + compressor.flush()
    else:
        data = zstandard.ZstdCompressor().compress(_SAMPLE)
    output = bytearray(len(_SAMPLE))
    place, size, zero = array("Q", [0]), array("I", [len(data)]), array("I", [0])
    done = decompress(memoryview(data), memoryview(output), len(_SAMPLE), place, size, zero, zero, 0, 0)
    return done == 1 and output == _SAMPLE
