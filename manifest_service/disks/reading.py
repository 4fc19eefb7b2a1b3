"""From the runs of a disk to its data in guest order, at the speed of the source.

The calling thread reads: neighbouring runs into one large buffer, whatever their order in the source. Compressed
clusters it only reads: whoever takes a piece of them inflates it, on a thread of its own if there are several.

    runs ──> batches of about 2 MiB ──┬── read ──────────────────> buffers     in guest order, between long zeros
                                      └── read compressed bytes ─> unfinished

Memory is bounded by the buffers that are made: at worst (clusters of 2 MiB) about 60 MiB.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from operator import add

from manifest_service.disks.buffers import Buffer, BufferPool
from manifest_service.disks.disk import Disk
from manifest_service.disks.inflation import BrokenCluster, ClusterBatch
from manifest_service.disks.limits import KIB, MIB
from manifest_service.disks.qcow2.descriptors import find_extent
from manifest_service.disks.runs import Compressed, Run, Stored, Zeros
from manifest_service.disks.source import Source, read_exactly
from manifest_service.errors import ImageRefused, RefusalCode

_LARGEST_CLUSTER = 2 * MIB
"""The largest cluster of qcow2. A compressed one may say that it takes twice as much."""

_BATCH = _LARGEST_CLUSTER - 64 * KIB
"""Bytes of the disk after which a batch is complete: so many that hand-overs between threads cost little, and that
short zeros have room behind them."""

_LONG_ZEROS = 32 * KIB
"""Shorter zeros are filled in among the data around them: to hash so few bytes costs less than one hand-over more."""

_OUTPUTS = 14
_INPUTS = 8
_INPUT_SIZE = 2 * _LARGEST_CLUSTER
"""As many as those who take pieces hold at a time, and some more; what is never filled takes no memory."""


@dataclass(slots=True)
class _Batch:
    """A buffer that is being filled: `output.length` bytes of it are spoken for, some by clusters to be inflated.

    offsets: where each of the clusters lies in the source. compressed_size: bytes that they take there at most.
    """

    output: Buffer
    offsets: array[int]
    clusters: ClusterBatch | None = None
    compressed_size: int = 0


class Unfinished:
    """A piece of the disk whose clusters are still compressed: `finish` or `release` it, once.

    length: bytes that it will have.
    """

    __slots__ = ("_batch", "_clusters", "_data", "length")

    def __init__(self, batch: _Batch, clusters: ClusterBatch, data: Buffer) -> None:
        """data: the compressed bytes, which are let go of when they are no longer needed."""
        self.length = batch.output.length
        self._batch = batch
        self._clusters = clusters
        self._data = data

    def finish(self) -> Buffer:
        """Inflate; on any thread. Raises ImageRefused for a cluster that does not inflate."""
        try:
            self._clusters.inflate(self._data.view, self._batch.output.memory)
        except BrokenCluster as broken:
            self._batch.output.release()
            raise self._refusal(broken) from broken
        finally:
            self._data.release()
        return self._batch.output

    def release(self) -> None:
        """Let go of it as it is."""
        self._data.release()
        self._batch.output.release()

    def _refusal(self, broken: BrokenCluster) -> ImageRefused:
        offset = self._batch.offsets[broken.index]
        if self._clusters.paddings[broken.index]:
            reason = f"the file ends inside of the compressed cluster at byte {offset}: {broken.reason}"
            return ImageRefused(RefusalCode.TRUNCATED, reason)
        return ImageRefused(
            RefusalCode.CORRUPT_DATA, f"the compressed cluster at byte {offset} is broken: {broken.reason}"
        )


Piece = Buffer | Unfinished | Zeros
"""A piece of the disk: bytes (to be released by whoever got them), what becomes bytes, or a length of zeros."""


def read_disk(disk: Disk, source: Source) -> Generator[Piece, None, None]:
    """Read a disk from beginning to end.

    source: the source that the disk was opened from; only the calling thread reads it, and waits when so many pieces
        are held that no buffer is free.
    Raises ImageRefused for what is found broken on the way, ComputationFailed if the source cannot be read.
    """
    with closing(_Assembler(source)) as assembler:
        for run in disk.runs():
            yield from assembler.add(run)
        yield from assembler.complete()


class _Assembler:
    """Puts runs together to batches, and reads them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._outputs = BufferPool(_LARGEST_CLUSTER, _OUTPUTS, large_pages=True)
        self._inputs = BufferPool(_INPUT_SIZE, _INPUTS)
        self._batch: _Batch | None = None

    def add(self, run: Run) -> Iterator[Piece]:
        """Add a run; give the batches that it completes."""
        match run:
            case Compressed():
                yield from self._add_compressed(run)
            case Stored():
                yield from self._add_stored(run)
            case Zeros() if run.length >= _LONG_ZEROS:
                yield from self.complete()
                yield run
            case Zeros():
                yield from self._add_zeros(run)

    def complete(self) -> Iterator[Piece]:
        """Give the batch as it is."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if batch.clusters is not None:
            data = self._inputs.take()
            self._read_compressed(batch, batch.clusters, data)
            yield Unfinished(batch, batch.clusters, data)
        else:
            yield batch.output

    def close(self) -> None:
        """Let go of all memory that nobody holds."""
        self._batch = None
        self._outputs.close()
        self._inputs.close()

    def _open_batch(self) -> _Batch:
        if self._batch is None:
            self._batch = _Batch(self._outputs.take(), array("Q"))
        return self._batch

    def _add_stored(self, run: Stored) -> Iterator[Piece]:
        done = 0
        while done < run.length:
            output = self._open_batch().output
            length = min(run.length - done, _BATCH - output.length)
            read_exactly(self._source, output.memory[output.length : output.length + length], run.offset + done)
            output.length += length
            done += length
            if output.length == _BATCH:
                yield from self.complete()

    def _add_zeros(self, run: Zeros) -> Iterator[Piece]:
        # A batch is given out before it has more than _BATCH bytes, so that these fit in.
        output = self._open_batch().output
        output.memory[output.length : output.length + run.length] = bytes(run.length)
        output.length += run.length
        if output.length >= _BATCH:
            yield from self.complete()

    def _add_compressed(self, run: Compressed) -> Iterator[Piece]:
        """Add as many clusters at a time as a batch has room for, and one at least."""
        first = 0
        at_once = max(1, _BATCH // run.cluster_size)
        while first < len(run.offsets):
            output = self._open_batch().output
            end = min(len(run.offsets), first + min(at_once, (_LARGEST_CLUSTER - output.length) // run.cluster_size))
            if end == first or not self._add_clusters(run, first, end):
                yield from self.complete()
                continue
            first = end
            # The rest of a cluster that is not whole lies behind what the batch holds: nothing may follow there.
            if output.length >= _BATCH or run.length < end * run.cluster_size:
                yield from self.complete()

    def _add_clusters(self, run: Compressed, first: int, end: int) -> bool:
        """Add the run's clusters from `first` to before `end`, if their compressed bytes have room in the batch."""
        batch = self._open_batch()
        sizes = run.sizes[first:end]
        compressed_size = batch.compressed_size + sum(sizes)
        if compressed_size > _INPUT_SIZE:
            return False
        if batch.clusters is None:
            batch.clusters = ClusterBatch(run.method, run.cluster_size)
        start = batch.output.length
        length = min((end - first) * run.cluster_size, run.length - first * run.cluster_size)
        batch.offsets.extend(run.offsets[first:end])
        batch.compressed_size = compressed_size
        batch.clusters.sizes.extend(sizes)
        batch.clusters.positions.extend(range(start, start + length, run.cluster_size))
        batch.output.length += length
        return True

    def _read_compressed(self, batch: _Batch, clusters: ClusterBatch, data: Buffer) -> None:
        """Read a batch's clusters into `data`, where they take no more room than all their sizes; note the places."""
        extent = find_extent(batch.offsets, clusters.sizes)
        if len(extent) <= batch.compressed_size:
            # As qemu-img writes them: one after the other, neighbours sharing a sector.
            self._read_span(data, extent)
            clusters.places, clusters.start = batch.offsets, extent.start
        else:
            clusters.places = self._read_scattered(batch.offsets, clusters.sizes, data)
        size = self._source.size
        if extent.stop <= size:
            clusters.paddings = array("I", bytes(clusters.sizes.itemsize * len(clusters.sizes)))
        else:
            clusters.paddings.extend(max(0, end - size) for end in map(add, batch.offsets, clusters.sizes))

    def _read_scattered(self, offsets: array[int], sizes: array[int], data: Buffer) -> array[int]:
        """Read clusters that lie anywhere, those that touch each other at once; give where each begins in `data`."""
        places = array("Q", offsets)
        span = range(0)
        for index in sorted(range(len(offsets)), key=offsets.__getitem__):
            start = offsets[index]
            if start > span.stop or not span:
                self._read_span(data, span)
                span = range(start, start)
            places[index] = data.length + start - span.start
            end = start + sizes[index]
            if end > span.stop:
                span = range(span.start, end)
        self._read_span(data, span)
        return places

    def _read_span(self, data: Buffer, span: range) -> None:
        """Read a range of the source after what `data` holds; zeros for what is past the source's end."""
        space = data.memory[data.length : data.length + len(span)]
        present = min(len(span), self._source.size - span.start)
        if present:
            read_exactly(self._source, space[:present], span.start)
        space[present:] = bytes(len(span) - present)
        data.length += len(span)
