"""A stored object as a source: read once from the first byte to the last, as far as the image's layout allows.

    ........[ window ]──> next bytes        reads here and ahead: as the bytes pass
       │
       └── a read behind the window: from the pieces that were passed over, if it is in one; or single ranges,
           where the store has them and names versions, and they do not become too many; else everything is spooled to
           a scratch file

qemu-img writes an image's tables before the data that they map, so that what it has converted is hardly ever read
behind the window. Memory: the window, as much again for pieces, what is read ahead, and a few ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from manifest_service.disks.limits import MIB
from manifest_service.images.objects.stored_object import StoredObject
from manifest_service.images.streams.forward import ForwardReader, Recorded
from manifest_service.images.streams.leftovers import MARGIN, Leftovers
from manifest_service.images.streams.patience import Patience
from manifest_service.images.streams.ranges import RangeReader
from manifest_service.images.streams.spool import Spool, SpoolSettings
from manifest_service.images.streams.window import Window

_AT_ONCE = 1 * MIB
_FAR = 4
"""A jump over more than this share of the window leads to tables behind the data, and not just over some."""


@dataclass(frozen=True)
class StreamSettings:
    """window: bytes of memory that keep what has passed. spool: where sources go that must be kept whole."""

    window: int = 32 * MIB
    patience: Patience = field(default_factory=Patience)
    spool: SpoolSettings = field(default_factory=SpoolSettings)


class StreamSource:
    """The bytes of an object in a store; see `disks.source.Source` for the rest."""

    def __init__(self, stored: StoredObject, recorded: Recorded, settings: StreamSettings) -> None:
        """Open the object. Raises ObjectMissing, ComputationFailed."""
        self.read_from = stored.kind
        self._settings = settings
        self._forward = ForwardReader(stored, recorded, settings.patience)
        self._kept: Window | Spool = Window(max(1, min(settings.window, self.size)))
        self._leftovers = Leftovers(settings.window)
        self._ranges: RangeReader | None = None
        if stored.is_random and self._forward.mark is not None:
            self._ranges = RangeReader(stored, self.size, self._forward.mark, settings.patience)

    @property
    def size(self) -> int:
        return self._forward.size

    @property
    def is_spooled(self) -> bool:
        """Whether it is kept in a scratch file by now."""
        return isinstance(self._kept, Spool)

    def readinto(self, buffer: memoryview, offset: int) -> int:
        wanted = max(0, min(len(buffer), self.size - offset))
        if not wanted:
            return 0
        space = buffer[:wanted]
        kept = self._kept
        if isinstance(kept, Window) and offset < kept.start:
            if self._leftovers.copy(space, offset):
                return wanted
            if self._ranges is not None and self._ranges.is_worth_it:
                self._ranges.readinto(space, offset)
                return wanted
            kept = self._begin_to_spool(kept)
        if isinstance(kept, Spool):
            self._fill(kept, offset + wanted)
            kept.readinto(space, offset)
        else:
            self._read_forward(kept, space, offset)
        return wanted

    def next_data(self, offset: int) -> range:
        """A store does not tell data from holes."""
        return range(offset, self.size)

    def skip_to(self, offset: int) -> None:
        """Keep what is passed over, if that is little; begin to spool, if a long jump would cost what is still held.

        Tables that lie behind data are met at the beginning, while the window has all that has passed: whoever jumps
        there will want to come back.
        """
        kept = self._kept
        if not isinstance(kept, Window):
            return
        is_far = offset > kept.capacity and offset - kept.end > kept.capacity // _FAR
        if is_far and kept.start == 0 and self._ranges is None:
            self._begin_to_spool(kept)
        elif offset > kept.end:
            margin = memoryview(bytearray(min(MARGIN, kept.end - kept.start)))
            kept.copy(margin, kept.end - len(margin))
            self._leftovers.expect(bytes(margin), kept.end, offset)

    def fileno(self) -> int:
        """The scratch file, with all bytes in it."""
        kept = self._kept
        spool = self._begin_to_spool(kept) if isinstance(kept, Window) else kept
        self._fill(spool, self.size)
        if self._ranges is not None:
            self._ranges.verify()  # Whoever looked at those bytes first must have seen what is in the file.
        return spool.fileno()

    def verify_unchanged(self) -> None:
        """Raise ComputationFailed if what came a second time is not what came first, or more comes than was said.

        What was asked for as one version was seen to on the way: see `ForwardReader` and `RangeReader`. Single ranges
        are compared where all bytes have passed.
        """
        if isinstance(self._kept, Spool):
            # The disk may end before the place up to which bytes came twice.
            self._fill(self._kept, self._forward.unproven)
        if self._forward.position == self.size:
            if self._ranges is not None:
                self._ranges.verify()
            self._forward.require_end()

    def close(self) -> None:
        """Let go of the store's answer and of the scratch file; harmless when that was done already."""
        self._forward.close()
        if isinstance(self._kept, Spool):
            self._kept.close()

    def _read_forward(self, window: Window, space: memoryview, offset: int) -> None:
        """Fill `space` with what the window holds and what comes next; what lies between is only kept."""
        end = offset + len(space)
        if offset < window.end:
            held = min(end, window.end) - offset
            window.copy(space[:held], offset)
        while window.end < end:
            start = window.end
            part = self._forward.take(min(end - start, _AT_ONCE))
            window.append(part)
            self._leftovers.pass_by(part, start)
            if self._ranges is not None:
                self._ranges.pass_by(part, start)
            first = max(offset, start)
            if first < window.end:
                space[first - offset : window.end - offset] = part[first - start :]

    def _begin_to_spool(self, window: Window) -> Spool:
        """Keep all bytes from now on, and those before: from the window if it still has them, or from the store."""
        spool = self._kept = Spool(self._settings.spool, self.size)
        if window.start > 0:
            self._forward.restart()
        else:
            passed = memoryview(bytearray(window.end))
            window.copy(passed, 0)
            spool.append(passed)
        return spool

    def _fill(self, spool: Spool, end: int) -> None:
        while spool.filled < end:
            self._settings.patience.tick()
            part = self._forward.take(_AT_ONCE)
            if self._ranges is not None:
                self._ranges.pass_by(part, spool.filled)
            spool.append(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
