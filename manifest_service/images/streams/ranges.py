"""Single ranges of an object, for reads that lie behind what a stream still holds."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import closing
from functools import partial

from manifest_service.disks.limits import MIB
from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.images.objects.stored_object import ObjectChanged, ObjectMissing, StoreBroke, StoredObject
from manifest_service.images.streams.ahead import AheadReader
from manifest_service.images.streams.patience import TRIES, Patience

_BLOCK = 4 * MIB
"""Bytes asked for at once. A request takes some milliseconds, in which so much comes at 1 Gbit/s."""
_BLOCKS = 8
"""Blocks that are kept: tables, and images that were written from the end to the beginning, are read in small steps."""


class RangeReader:
    """Reads one version of an object, block by block."""

    def __init__(self, stored: StoredObject, size: int, mark: str, patience: Patience) -> None:
        """size, mark: of the version; the store answers for another one with an error."""
        self._stored = stored
        self._size = size
        self._mark = mark
        self._patience = patience
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readinto(self, space: memoryview, offset: int) -> None:
        """Fill `space` with the bytes from `offset` on, all of which lie in the object. Raises ComputationFailed."""
        done = 0
        while done < len(space):
            index, place = divmod(offset + done, _BLOCK)
            part = self._block(index)[place : place + len(space) - done]
            space[done : done + len(part)] = part
            done += len(part)

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            start = index * _BLOCK
            self._blocks[index] = self._fetch(start, min(_BLOCK, self._size - start))
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def _fetch(self, start: int, length: int) -> bytes:
        for failures in range(1, TRIES + 1):
            try:
                return self._try_to_fetch(start, length)
            except StoreBroke as broke:
                last = broke
            except (ObjectChanged, ObjectMissing):
                raise self._changed() from None
            if failures < TRIES:
                self._patience.rest(failures)
        raise ComputationFailed(
            FailureCode.STORE_BROKEN,
            f"{TRIES} tries did not bring the {length} bytes at byte {start} from the {self._stored.kind} store;"
            f" the last one: {last.reason}",
            retriable=True,
        )

    def _try_to_fetch(self, start: int, length: int) -> bytes:
        with closing(AheadReader(partial(self._stored.open, start, length, self._mark), self._patience)) as reader:
            opened = reader.opened()
            if opened.mark != self._mark or opened.size != self._size:
                raise self._changed()
            if opened.offset != start:
                raise StoreBroke(f"the bytes at {start} were asked for, and others came")
            found = bytearray()
            while len(found) < length:
                part = reader.next_part()
                if part is None:
                    raise StoreBroke(f"{length} bytes at byte {start} were asked for, and {len(found)} came")
                found += part
        return bytes(found[:length])

    def _changed(self) -> ComputationFailed:
        return ComputationFailed(
            FailureCode.SOURCE_CHANGED,
            f"the image changed while it was read: the {self._stored.kind} store has another version than at first",
            retriable=True,
        )
