"""Inflating compressed clusters: exactly one cluster comes out, or an error; never more memory than that.

A descriptor counts its compressed bytes in sectors, so that bytes of a neighbour follow the stream: they are ignored.
Specification: section "Compressed Clusters Descriptor", header field "compression_type".
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import zstandard
from zlib_ng import zlib_ng

from manifest_service.disks.runs import CompressionMethod

Decompress = Callable[[memoryview, int, int], "bytes | memoryview"]
"""Give the content of a cluster; raise ClusterError if there is not all of it.

Arguments: the bytes that its descriptor names; the size of a cluster; how many of the bytes, at the end, are not in the
file: they are zeros, and a stream that needs them is not whole.
"""

_ZLIB_WINDOW_BITS = 15
"""qemu passes 12, but as it inflates to one buffer in one call, distances up to 2^15 work there."""


class ClusterError(Exception):
    """Compressed bytes that do not give a whole cluster."""


def decompressor(method: CompressionMethod) -> Decompress:
    """Make a decompressor, for use by one thread."""
    return inflate if method == "zlib" else ZstdDecompressor()


def inflate(data: memoryview, size: int, padding: int) -> bytes:
    """Inflate a raw deflate stream: output that would go on after a full cluster is fine, as it is for qemu.

    By zlib-ng, which is faster than zlib and judges every stream as zlib does, and so as qemu does. ISA-L and
    libdeflate are faster still, but accept streams that zlib refuses: those whose Huffman codes leave bits without a
    meaning (RFC 1951, 3.2.7). A digest of what qemu will not convert would be a wrong one.

    Zeros past the end of the file are part of the input: what follows a full cluster can still be found faulty.
    """
    decoder = zlib_ng.decompressobj(-_ZLIB_WINDOW_BITS)
    try:
        cluster = decoder.decompress(data, size)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub says that it is an instance
        raise ClusterError("the deflate stream is invalid") from error
    if len(cluster) < size:
        raise ClusterError(f"the deflate stream gives {len(cluster)} of {size} bytes")
    if len(decoder.unused_data or decoder.unconsumed_tail) < padding:
        raise ClusterError("the deflate stream goes on past the end of the file")
    return cluster


class ZstdDecompressor:
    """Decompresses zstd frames until a cluster is full; the last frame must end there."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor()
        self._cluster = bytearray()

    def __call__(self, data: memoryview, size: int, padding: int) -> bytes | memoryview:
        """Decompress; the result is valid until the next call."""
        return self._decompress_single(data, size, padding) or self._decompress_frames(data, size, padding)

    def _decompress_single(self, data: memoryview, size: int, padding: int) -> bytes | None:
        """Decompress one frame that says it is the whole cluster, as qemu-img's own do: by far the usual case.

        None for anything else. What is wrong with a frame is left to the thorough way to find.
        """
        present = data[: len(data) - padding]
        try:
            # What a frame says is allocated at once: nothing but a cluster may be.
            if zstandard.frame_content_size(present) != size:
                return None
            cluster = self._decompressor.decompress(present, allow_extra_data=True)
        except zstandard.ZstdError:
            return None
        return cluster if len(cluster) == size else None

    def _decompress_frames(self, data: memoryview, size: int, padding: int) -> memoryview:
        if len(self._cluster) != size + 1:
            # One byte more than a cluster, so that a frame which gives more is seen to do so.
            self._cluster = bytearray(size + 1)
        cluster = memoryview(self._cluster)
        present = data[: len(data) - padding]
        done = position = 0
        while done < size:
            end = _frame_end(present, position)
            done += self._decompress_frame(present[position:end], cluster[done:])
            position = end
        if done > size:
            raise ClusterError(f"the zstd frames give more than {size} bytes")
        return cluster[:size]

    def _decompress_frame(self, frame: memoryview, space: memoryview) -> int:
        # Given one frame alone and room to spare, the reader takes in all of the frame, its checksum included.
        try:
            with self._decompressor.stream_reader(frame, closefd=False) as reader:
                return reader.readinto(space)
        except zstandard.ZstdError as error:
            raise ClusterError("a zstd frame is invalid") from error


_ZSTD_MAGIC = 0xFD2FB528
_SKIPPABLE_MAGIC = 0x184D2A50
_RESERVED_BLOCK = 3
_RLE_BLOCK = 1
_CHECKSUM = 4


def _frame_end(data: memoryview, start: int) -> int:
    """Find where the frame that begins at `start` ends, from the sizes of its blocks.

         0       4                                            0                2 3                         23
        +-------+--------+---------+---+ ... +----------+    +---+------------+-+---------------------------+
        | magic | header | block 1 | block 2 | checksum |    block header: bit 0 last, 1-2 type, 3-23 size
        +-------+--------+---------+---+ ... +----------+

    Format: RFC 8878, sections 3.1.1 and 3.1.2.
    """
    (magic,) = _unpack("<I", data, start)
    if magic & ~0xF == _SKIPPABLE_MAGIC:
        (length,) = _unpack("<I", data, start + 4)
        return _within(data, start + 8 + length)
    if magic != _ZSTD_MAGIC:
        raise ClusterError("there is no zstd frame where one should begin")
    try:
        header = bytes(data[start : start + 18])
        position = start + zstandard.frame_header_size(header)
        has_checksum = zstandard.get_frame_parameters(header).has_checksum
    except zstandard.ZstdError as error:
        raise ClusterError("a zstd frame's header is invalid") from error
    last = 0
    while not last:
        low, high = _unpack("<HB", data, position)
        block = low | high << 16
        last, kind, length = block & 1, block >> 1 & 3, block >> 3
        if kind == _RESERVED_BLOCK:
            raise ClusterError("a zstd frame has a block of unknown type")
        position += 3 + (1 if kind == _RLE_BLOCK else length)
    return _within(data, position + (_CHECKSUM if has_checksum else 0))


def _unpack(layout: str, data: memoryview, offset: int) -> tuple[int, ...]:
    if offset + struct.calcsize(layout) > len(data):
        raise ClusterError("a zstd frame is incomplete")
    return struct.unpack_from(layout, data, offset)


def _within(data: memoryview, end: int) -> int:
    if end > len(data):
        raise ClusterError("a zstd frame is incomplete")
    return end
