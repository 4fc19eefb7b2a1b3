"""All digests of a disk in one pass over its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType

from manifest_service.digests import algorithms as known
from manifest_service.digests.algorithms import Consumer
from manifest_service.digests.bmap import BlockMap, BlockMapper
from manifest_service.digests.fanout import FanOut
from manifest_service.disks.disk import Disk
from manifest_service.disks.limits import MIB
from manifest_service.disks.reading import Piece, read_disk
from manifest_service.disks.runs import Zeros
from manifest_service.disks.source import Source
from manifest_service.errors import UsageError

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all. An exception that it raises stops the computation and is passed on."""

_PROGRESS_INTERVAL = 0.25
"""Seconds between two calls of a progress callback."""

_LONGEST_ZEROS = 32 * MIB
"""Zeros are handed over in such parts, so that progress is seen and a cancelled computation stops soon."""

_NOBODY: Mapping[str, Consumer] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DiskDigests:
    """What was computed of a disk.

    virtual_size: bytes. digests: algorithm → hexadecimal digest. warnings: sentences for the operator. block_map: if
    it was asked for and did not become too large.
    """

    virtual_size: int
    digests: Mapping[str, str]
    warnings: tuple[str, ...]
    block_map: BlockMap | None = None


def compute(  # noqa: PLR0913
    disk: Disk,
    source: Source,
    algorithms: Iterable[str],
    *,
    block_map_ranges: int = 0,
    consumers: Mapping[str, Consumer] = _NOBODY,
    progress: Progress | None = None,
) -> DiskDigests:
    """Compute digests of a disk.

    disk, source: a disk and the source it was opened from. Only the calling thread reads the source.
    block_map_ranges: the most ranges that a block map may have; 0 for no map.
    consumers: others that are given the disk in the same pass, piece by piece in order, on changing threads; by names
        that no algorithm has. What one raises ends the computation and is passed on. When this returns, all have taken
        in everything.
    progress: called from the calling thread now and then, and once at the end.
    Raises UsageError for an unknown algorithm or none, ImageRefused for what is found broken on the way,
    ComputationFailed if the source cannot be read, and whatever `progress` raises. All threads have ended by then.
    """
    digests = {name: known.new_digest(name) for name in known.check(algorithms)}
    if not digests:
        raise UsageError("no-algorithm", "at least one digest algorithm is needed")
    mapper = BlockMapper(block_map_ranges) if block_map_ranges else None
    maps = {"bmap": mapper} if mapper else {}
    _feed(disk, source, _together(digests, maps, consumers), progress)
    block_map = mapper.finish() if mapper else None
    warnings = disk.warnings
    if mapper and block_map is None:
        warnings += (f"The block map was left out: it would have more than {block_map_ranges} ranges.",)
    results = {name: digest.hexdigest() for name, digest in digests.items()}
    return DiskDigests(disk.virtual_size, MappingProxyType(results), warnings, block_map)


def _together(*groups: Mapping[str, Consumer]) -> dict[str, Consumer]:
    """All consumers. Two of one name would be one that gets nothing, and has a result all the same: ValueError."""
    together: dict[str, Consumer] = {}
    for group in groups:
        if not together.keys().isdisjoint(group):
            raise ValueError("two consumers of a disk have the same name")
        together |= group
    return together


def _feed(disk: Disk, source: Source, consumers: Mapping[str, Consumer], progress: Progress | None) -> None:
    """Give all of a disk to all consumers, or raise."""
    reporter = _Reporter(disk.virtual_size, progress)
    with FanOut(consumers) as fan_out, closing(read_disk(disk, source)) as pieces:
        for piece in _split_zeros(pieces):
            length = piece.length  # The buffer may be in use for other bytes once it was handed over.
            fan_out.put(piece)
            reporter.advance(length)
        if reporter.done != disk.virtual_size:
            raise RuntimeError(f"the disk has {disk.virtual_size} bytes, but {reporter.done} were read")
        fan_out.finish()
    reporter.report()


def _split_zeros(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if isinstance(piece, Zeros):
            whole, rest = divmod(piece.length, _LONGEST_ZEROS)
            for _ in range(whole):
                yield Zeros(_LONGEST_ZEROS)
            if rest:
                yield Zeros(rest)
        else:
            yield piece


class _Reporter:
    """Counts bytes and calls the progress callback at a bounded rate."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done = 0
        self._total = total
        self._progress = progress
        self._due = monotonic()

    def advance(self, length: int) -> None:
        self.done += length
        if self._progress is not None and monotonic() >= self._due:
            self.report()
            self._due = monotonic() + _PROGRESS_INTERVAL

    def report(self) -> None:
        if self._progress is not None:
            self._progress(self.done, self._total)
