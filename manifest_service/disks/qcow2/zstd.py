"""Clusters that are compressed by zstd: one frame or several, which end where the cluster is full.

Format: RFC 8878.
"""

from __future__ import annotations

import struct

import zstandard

from manifest_service.disks.qcow2.compression import ClusterError


class ZstdDecompressor:
    """Decompresses zstd frames until a cluster is full; the last frame must end there."""

    def __init__(self, cluster_size: int, data: memoryview, output: memoryview) -> None:
        self._cluster_size = cluster_size
        self._data = data
        self._output = output
        self._decompressor = zstandard.ZstdDecompressor()
        self._cluster = bytearray()

    def __call__(self, place: int, size: int, padding: int, position: int) -> None:
        present = self._data[place : place + size - padding]
        cluster = self._decompress_single(present) or self._decompress_frames(present)
        self._output[position : position + self._cluster_size] = cluster

    def _decompress_single(self, present: memoryview) -> bytes | None:
        """Decompress one frame that says it is the whole cluster, as qemu-img's own do: by far the usual case.

        None for anything else. What is wrong with a frame is left to the thorough way to find.
        """
        try:
            # What a frame says is allocated at once: nothing but a cluster may be.
            if zstandard.frame_content_size(present) != self._cluster_size:
                return None
            cluster = self._decompressor.decompress(present, allow_extra_data=True)
        except zstandard.ZstdError:
            return None
        return cluster if len(cluster) == self._cluster_size else None

    def _decompress_frames(self, present: memoryview) -> memoryview:
        size = self._cluster_size
        if len(self._cluster) != size + 1:
            # One byte more than a cluster, so that a frame which gives more is seen to do so.
            self._cluster = bytearray(size + 1)
        cluster = memoryview(self._cluster)
        done = position = 0
        steps = _Steps()
        while done < size:
            end = _frame_end(present, position, steps)
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

_MOST_STEPS = 1024
"""Frames and blocks in a cluster, the largest of which has 16 blocks of full size. qemu knows no bound, and writes one
frame; but a cluster of thousands of empty ones takes a hundred times as long as one that is full of data."""


class _Steps:
    """Counts frames and blocks of one cluster."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def take(self) -> None:
        """Raises ClusterError for one too many."""
        self._left -= 1
        if self._left < 0:
            raise ClusterError(f"there are more than {_MOST_STEPS} zstd frames and blocks in one cluster")


def _frame_end(data: memoryview, start: int, steps: _Steps) -> int:
    """Find where the frame that begins at `start` ends, from the sizes of its blocks.

         0       4                                            0                2 3                         23
        +-------+--------+---------+---+ ... +----------+    +---+------------+-+---------------------------+
        | magic | header | block 1 | block 2 | checksum |    block header: bit 0 last, 1-2 type, 3-23 size
        +-------+--------+---------+---+ ... +----------+

    Format: RFC 8878, sections 3.1.1 and 3.1.2.
    """
    steps.take()
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
        steps.take()
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
