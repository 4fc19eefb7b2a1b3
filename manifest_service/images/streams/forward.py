"""All bytes of a stored object in order, over as many answers as that takes; never a mixture of two versions.

An answer that breaks off is gone on with at the same place, where the store begins answers anywhere and one of two
things makes sure that what follows belongs to what came before: the version's mark, or checksums that Glance recorded,
which are verified over all bytes at the end. Otherwise the next answer begins at the first byte, and what it repeats is
held against a digest of what came before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from blake3 import blake3

from manifest_service.errors import ComputationFailed, FailureCode
from manifest_service.images.objects.stored_object import ObjectChanged, ObjectMissing, StoreBroke, StoredObject
from manifest_service.images.streams.ahead import AheadReader
from manifest_service.images.streams.patience import TRIES, Patience


@dataclass(frozen=True)
class Recorded:
    """What Glance records of the source: bytes, where it says; and whether it has a checksum of them."""

    size: int | None = None
    has_checksums: bool = False


NOTHING_RECORDED = Recorded()


@dataclass(frozen=True)
class _Proof:
    """What the first `length` bytes must hash to when they come again."""

    length: int
    digest: bytes


class ForwardReader:
    """The bytes of an object from the first to the last. Close it in any case.

    size: of the whole object. position: bytes that `take` has given since the beginning.
    """

    def __init__(self, stored: StoredObject, recorded: Recorded, patience: Patience) -> None:
        """Open the object. Raises ObjectMissing, ComputationFailed."""
        self.kind = stored.kind
        self.position = 0
        self.mark: str | None = None
        self._stored = stored
        self._recorded = recorded
        self._patience = patience
        self._reader: AheadReader | None = None
        self._part = memoryview(b"")
        self._came = 0  # Bytes of this pass, those among them that are repeated and not given again.
        self._hash = blake3()
        self._proof: _Proof | None = None
        self._failures = 0
        self._furthest = 0
        self._size: int | None = None
        try:
            while self._open() is None:
                pass
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        if self._size is None:
            raise ValueError("the object is not open yet")
        return self._size

    @property
    def unproven(self) -> int:
        """Bytes from the beginning that must come again before what was given since `restart` is known to be the same.

        0 where all that was given is what came first.
        """
        return 0 if self._proof is None else self._proof.length

    def take(self, most: int) -> memoryview:
        """The next bytes: one at least and `most` at most, and no more than there are. Raises ComputationFailed."""
        while not self._part:
            self._receive()
        part, self._part = self._part[:most], self._part[most:]
        self.position += len(part)
        return part

    def restart(self) -> None:
        """Begin at the first byte again; all bytes up to here must come as they came before: see `unproven`."""
        self.close()
        self._repeat()
        self.position = self._furthest = self._failures = 0

    def require_end(self) -> None:
        """Raise ComputationFailed (source-mismatch) if more bytes come than `size`; so many were taken already."""
        try:
            extra = self._reader is not None and self._reader.next_part()
        except StoreBroke:
            return
        if extra:
            raise self._mismatch("more")

    def close(self) -> None:
        """Let go of the answer."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _receive(self) -> None:
        """Have the next part, if this answer or the next one brings it."""
        reader = self._open()
        if reader is None:
            return
        try:
            part = reader.next_part()
            if part is None:
                raise StoreBroke(f"its answer ended after {self._came} of {self.size} bytes")
        except StoreBroke as broke:
            self._bear(broke)
            return
        if self._came + len(part) > self.size:
            raise self._mismatch("more")
        self._verify_repeated(part)
        self._part = memoryview(part)[max(0, self.position - self._came) :]
        self._came += len(part)

    def _verify_repeated(self, part: bytes) -> None:
        """Take a part into the hash; hold it against the proof when it reaches that."""
        proof = self._proof
        if proof is not None and self._came + len(part) >= proof.length:
            head = proof.length - self._came
            self._hash.update(part[:head])
            if self._hash.digest() != proof.digest:
                raise _changed("the bytes that came again are not those that came before")
            self._proof = None
            part = part[head:]
        self._hash.update(part)

    def _open(self) -> AheadReader | None:
        """The answer that is being read, or the next one; None where that failed and is to be tried again."""
        if self._reader is not None:
            return self._reader
        can_go_on = self.mark is not None or self._recorded.has_checksums
        offset = self._came if can_go_on else 0
        reader = AheadReader(partial(self._stored.open, offset, None, self.mark), self._patience)
        self._reader = reader
        try:
            opened = reader.opened()
            if opened.offset not in (0, offset):
                raise StoreBroke(f"bytes from {offset} on were asked for, and others came")
        except StoreBroke as broke:
            self._bear(broke)
            return None
        except ObjectChanged:
            raise _changed("the store has another version of it than at first") from None
        except ObjectMissing:
            if self._size is None:
                raise
            raise _changed("the store no longer has it") from None
        if opened.offset != self._came:
            self._repeat()
        self._note(opened.size, opened.mark)
        return reader

    def _note(self, size: int | None, mark: str | None) -> None:
        """Take note of what an answer says of the object; it must be what the one before said."""
        if self._size is None:
            self.mark = mark
            self._size = self._recorded.size if size is None else size
            if self._size is None:
                raise ComputationFailed(
                    FailureCode.SOURCE_UNREADABLE,
                    f"neither Glance nor the {self.kind} store says how many bytes the image has",
                    retriable=True,
                )
        elif (self.mark is not None and mark != self.mark) or size not in (None, self._size):
            raise _changed("the store has another version of it than at first")

    def _repeat(self) -> None:
        """What comes next begins at the first byte: it must bring what came before."""
        if self._proof is None or self._proof.length < self._came:
            self._proof = _Proof(self._came, self._hash.digest())
        self._came = 0
        self._hash = blake3()
        self._part = memoryview(b"")

    def _bear(self, broke: StoreBroke) -> None:
        """Pause before the next try, or give up."""
        self.close()
        self._failures = self._failures + 1 if self._came <= self._furthest else 1
        self._furthest = max(self._furthest, self._came)
        if self._failures >= TRIES:
            total = "" if self._size is None else f" of {self._size}"
            raise ComputationFailed(
                FailureCode.STORE_BROKEN,
                f"{TRIES} tries brought no more than the first {self._furthest} bytes{total} from the {self.kind}"
                f" store; the last one: {broke.reason}",
                retriable=True,
            )
        self._patience.rest(self._failures)

    def _mismatch(self, how_many: str) -> ComputationFailed:
        by = "Glance recorded" if self._recorded.size is not None else "the store said"
        return ComputationFailed(
            FailureCode.SOURCE_MISMATCH, f"{by} {self.size} bytes, and {how_many} came", retriable=False
        )


def _changed(reason: str) -> ComputationFailed:
    return ComputationFailed(
        FailureCode.SOURCE_CHANGED, f"the image changed while it was read: {reason}", retriable=True
    )
