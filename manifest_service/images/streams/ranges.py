"""Single ranges of an object, for reads that lie behind what a stream still holds."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import closing
from functools import partial

from blake3 import blake3

from manifest_service.disks.limits import MIB
from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.images.objects.stored_object import ObjectChanged, ObjectMissing, StoreBroke, StoredObject
from manifest_service.images.streams.ahead import AheadReader
from manifest_service.images.streams.patience import TRIES, Patience

_BLOCK = 4 * MIB
"""Bytes asked for at once. A request takes some milliseconds, in which so much comes at 1 Gbit/s."""
_BLOCKS = 8
"""Blocks that are kept: tables, and images that were written from the end to the beginning, are read in small steps."""
_HASH = 32


class RangeReader:
    """Reads one version of an object, block by block.

    A store that says it is the same version may be wrong, or lie. So what passes in the stream is hashed block by
    block, and what was fetched must be the same: `verify`. That takes 32 bytes of memory for each 4 MiB.
    """

    def __init__(self, stored: StoredObject, size: int, mark: str, patience: Patience) -> None:
        """size, mark: of the version; the store answers for another one with an error."""
        self._stored = stored
        self._size = size
        self._mark = mark
        self._patience = patience
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetched_size = 0
        self._fetched: dict[int, bytes] = {}
        self._passed = 0
        self._passing = blake3()
        self._digests = bytearray()

    def pass_by(self, data: memoryview, offset: int) -> None:
        """Take note of the stream's next bytes; those that come again were seen to be the same."""
        data = data[max(0, self._passed - offset) :]
        while data:
            part = data[: _BLOCK - self._passed % _BLOCK]
            self._passing.update(part)
            self._passed += len(part)
            if self._passed % _BLOCK == 0 or self._passed == self._size:
                self._digests += self._passing.digest()
                self._passing = blake3()
            data = data[len(part) :]

    def verify(self) -> None:
        """Raise ComputationFailed if what was fetched is not what has passed; for when all has."""
        for index, digest in self._fetched.items():
            if self._digests[index * _HASH : (index + 1) * _HASH] != digest:
                raise self._changed("gives other bytes in a range than it gave in the whole")

    @property
    def is_worth_it(self) -> bool:
        """Whether no more than twice the object was fetched.

        An image of small clusters in random order would have a whole block fetched for each of them, thousands of times
        its own size in all.
        """
        return self._fetched_size <= 2 * self._size

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
            block = self._blocks[index] = self._fetch(start, min(_BLOCK, self._size - start))
            self._fetched_size += len(block)
            digest = blake3(block).digest()
            if self._fetched.setdefault(index, digest) != digest:
                raise self._changed("gives other bytes in a range than the first time")
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
                raise self._changed("has another version than at first") from None
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
                raise self._changed("has another version than at first")
            if opened.offset != start:
                raise StoreBroke(f"the bytes at {start} were asked for, and others came")
            found = bytearray()
            while len(found) < length:
                part = reader.next_part()
                if part is None:
                    raise StoreBroke(f"{length} bytes at byte {start} were asked for, and {len(found)} came")
                found += part
        return bytes(found[:length])

    def _changed(self, how: str) -> ComputationFailed:
        return ComputationFailed(
            FailureCode.SOURCE_CHANGED,
            f"the image changed while it was read: the {self._stored.kind} store {how}",
            retriable=True,
        )
