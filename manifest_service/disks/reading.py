"""From the runs of a disk to its data in guest order, at the speed of the source.

The calling thread reads: neighbouring runs into one large buffer, whatever their order in the source. Buffers with
compressed clusters go through a pool of threads that inflate them, and come out in guest order again:

    runs ──> batches of about 1 MiB ──┬── read directly ─────────────────┬──> buffers and long zeros, in guest order
                                      └── read ──> inflate (threads) ────┘

Memory is bounded by the two pools of buffers, at worst (clusters of 2 MiB) about 70 MiB.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from manifest_service.disks.buffers import Buffer, BufferPool
from manifest_service.disks.disk import Disk
from manifest_service.disks.limits import KIB, MIB
from manifest_service.disks.qcow2.compression import ClusterError, decompressor
from manifest_service.disks.runs import Compressed, Run, Stored, Zeros
from manifest_service.disks.source import Source, read_exactly
from manifest_service.errors import ImageRefused, RefusalCode

Piece = Buffer | Zeros
"""A piece of the disk: bytes (to be released by whoever got them), or a length of zeros."""

_BATCH = 1 * MIB
"""Bytes of the disk after which a batch is complete: large enough that hand-overs between threads cost little."""

_LARGEST_CLUSTER = 2 * MIB
"""The largest cluster of qcow2. A compressed one may say that it takes twice as much."""

_LONG_ZEROS = 32 * KIB
"""Shorter zeros are filled in among the data around them: to hash so few bytes costs less than one hand-over more."""

_SMALL_CLUSTER = 16 * KIB
"""Inflating clusters smaller than this, threads wait for the interpreter's lock more than they inflate."""

_MOST_THREADS = 4


@dataclass(slots=True)
class _Batch:
    """A buffer that is being filled: `output.length` bytes of it are spoken for, some by clusters to be inflated."""

    output: Buffer
    compressed: list[tuple[int, Compressed]] = field(default_factory=list)
    compressed_size: int = 0


def read_disk(disk: Disk, source: Source) -> Generator[Piece, None, None]:
    """Read a disk from beginning to end.

    source: the source that the disk was opened from; only the calling thread reads it. Close the generator if it is
        not exhausted: that ends its threads.
    Raises ImageRefused for what is found broken on the way, ComputationFailed if the source cannot be read.
    """
    most_pending = 2 * _MOST_THREADS
    pending: deque[Piece | Future[Buffer]] = deque()
    with closing(_Assembler(source, most_pending)) as assembler:
        for run in disk.runs():
            for piece in assembler.add(run):
                pending.append(piece)
                yield from _ready(pending, most_pending)
        pending.extend(assembler.complete())
        yield from _ready(pending, 0)


def _ready(pending: deque[Piece | Future[Buffer]], most_pending: int) -> Iterator[Piece]:
    """Give what is done at the head of the line; wait only where the line is longer than `most_pending`."""
    while pending:
        head = pending[0]
        if isinstance(head, Future):
            if len(pending) <= most_pending and not head.done():
                return
            pending.popleft()
            yield head.result()
        else:
            pending.popleft()
            yield head


class _Assembler:
    """Puts runs together to batches, and reads them."""

    def __init__(self, source: Source, most_pending: int) -> None:
        self._source = source
        self._executor: ThreadPoolExecutor | None = None
        # Beyond those in the line: one that is being filled, and some for those who hash.
        self._outputs = BufferPool(_LARGEST_CLUSTER, most_pending + 6)
        self._inputs = BufferPool(2 * _LARGEST_CLUSTER, most_pending + 1)
        self._batch: _Batch | None = None

    def add(self, run: Run) -> Iterator[Piece | Future[Buffer]]:
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

    def complete(self) -> Iterator[Piece | Future[Buffer]]:
        """Give the batch as it is."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if batch.compressed:
            yield self._inflate(batch)
        else:
            yield batch.output

    def close(self) -> None:
        """End the threads; what they were asked for is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _open_batch(self) -> _Batch:
        if self._batch is None:
            self._batch = _Batch(self._outputs.take())
        return self._batch

    def _add_stored(self, run: Stored) -> Iterator[Piece | Future[Buffer]]:
        done = 0
        while done < run.length:
            output = self._open_batch().output
            length = min(run.length - done, _BATCH - output.length)
            read_exactly(self._source, output.memory[output.length : output.length + length], run.offset + done)
            output.length += length
            done += length
            if output.length == _BATCH:
                yield from self.complete()

    def _add_zeros(self, run: Zeros) -> Iterator[Piece | Future[Buffer]]:
        # A batch is given out before it has more than _BATCH bytes, so that these fit in.
        output = self._open_batch().output
        output.memory[output.length : output.length + run.length] = bytes(run.length)
        output.length += run.length
        if output.length >= _BATCH:
            yield from self.complete()

    def _add_compressed(self, run: Compressed) -> Iterator[Piece | Future[Buffer]]:
        batch = self._open_batch()
        if batch.output.length + run.length > _LARGEST_CLUSTER or batch.compressed_size + run.size > self._inputs.size:
            yield from self.complete()
            batch = self._open_batch()
        batch.compressed.append((batch.output.length, run))
        batch.compressed_size += run.size
        batch.output.length += run.length
        if batch.output.length >= _BATCH:
            yield from self.complete()

    def _inflate(self, batch: _Batch) -> Future[Buffer]:
        """Read what the batch's compressed clusters need, and have a thread inflate them."""
        data = self._inputs.take()
        places = self._read_compressed(batch, data)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_threads(batch.compressed[0][1].cluster_size), "inflate")
        return self._executor.submit(_inflate, batch, data, places, self._source.size)

    def _read_compressed(self, batch: _Batch, data: Buffer) -> list[int]:
        """Read compressed clusters into `data` and return where each begins there.

        Neighbours share a sector, and host order need not be guest order: sorted by offset, those that touch are read
        at once, so that all together take no more room than the sum of their sizes.
        """
        runs = [run for _, run in batch.compressed]
        places = [0] * len(runs)
        span = range(0)
        for index in sorted(range(len(runs)), key=lambda index: runs[index].offset):
            start, end = runs[index].offset, runs[index].offset + runs[index].size
            if start > span.stop or not span:
                self._read_span(data, span)
                span = range(start, end)
            places[index] = data.length + start - span.start
            span = range(span.start, max(span.stop, end))
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


def _threads(cluster_size: int) -> int:
    if cluster_size < _SMALL_CLUSTER:
        return 1
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)))


def _inflate(batch: _Batch, data: Buffer, places: list[int], source_size: int) -> Buffer:
    """Inflate a batch's compressed clusters to their places among its other bytes; runs in a thread of its own."""
    output = batch.output
    decompress = decompressor(batch.compressed[0][1].method)
    for (position, run), place in zip(batch.compressed, places, strict=True):
        try:
            padding = max(0, run.offset + run.size - source_size)
            cluster = decompress(data.memory[place : place + run.size], run.cluster_size, padding)
        except ClusterError as error:
            raise _refusal(run, error, source_size) from error
        output.memory[position : position + run.length] = memoryview(cluster)[: run.length]
    data.release()
    return output


def _refusal(run: Compressed, error: ClusterError, source_size: int) -> ImageRefused:
    if run.offset + run.size > source_size:
        return ImageRefused(
            RefusalCode.TRUNCATED, f"the file ends inside of the compressed cluster at byte {run.offset}: {error}"
        )
    return ImageRefused(RefusalCode.CORRUPT_DATA, f"the compressed cluster at byte {run.offset} is broken: {error}")
