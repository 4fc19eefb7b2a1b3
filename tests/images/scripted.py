"""A store that is told how to answer, in memory: the face of `StoredObject`, and nothing behind it."""

import threading
from collections.abc import Callable, Iterator, Sequence

from manifest_service.images.objects.stored_object import ObjectChanged, ObjectMissing, OpenedObject, StoreBroke

PART = 1000
"""Bytes of one part of an answer: no divisor of anything."""

Answer = Callable[["ScriptedObject", bytes], Iterator[bytes]]
"""From the object and the bytes that were asked for to those that come."""


class ScriptedObject:
    """Bytes in a store.

    answers: to one request after the other, the last one to all further ones. seeks: whether an answer can begin
    anywhere. size: what it says of its size, -1 for the truth. requests: of what was asked, as (offset, length).
    given: bytes that were taken from it.
    """

    kind = "scripted"

    def __init__(
        self,
        data: bytes,
        answers: Sequence[Answer] = (),
        *,
        seeks: bool = False,
        is_random: bool = False,
        mark: str | None = None,
        size: int | None = -1,
    ) -> None:
        self.data = data
        self.is_random = is_random
        self.mark = mark
        self.requests: list[tuple[int, int | None]] = []
        self.given = 0
        self.closed = 0
        self.ended = threading.Event()
        self._answers = [*answers] or [whole]
        self._seeks = seeks
        self._size = size

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        self.requests.append((offset, length))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is missing:
            raise ObjectMissing
        if mark is not None and mark != self.mark:
            raise ObjectChanged
        begin = offset if self._seeks else 0
        asked = self.data[begin : len(self.data) if length is None else begin + length]
        size = len(self.data) if self._size == -1 else self._size
        return OpenedObject(begin, size, self.mark, self._count(answer(self, asked)), self._close)

    def _count(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.given += len(part)
            yield part

    def _close(self) -> None:
        self.closed += 1


def whole(_: ScriptedObject, asked: bytes) -> Iterator[bytes]:
    """All that was asked for."""
    for start in range(0, len(asked), PART):
        yield asked[start : start + PART]


def cut(length: int, *, silently: bool = False) -> Answer:
    """So many bytes, then an error; or then nothing, as if that were all."""

    def answer(scripted: ScriptedObject, asked: bytes) -> Iterator[bytes]:
        yield from whole(scripted, asked[:length])
        if not silently:
            raise StoreBroke("the cable was pulled")

    return answer


def stalled(length: int) -> Answer:
    """So many bytes, then silence until the test is over."""

    def answer(scripted: ScriptedObject, asked: bytes) -> Iterator[bytes]:
        yield from whole(scripted, asked[:length])
        scripted.ended.wait(60)

    return answer


def trickling(pause: float) -> Answer:
    """Byte by byte, with so many seconds between two of them."""

    def answer(scripted: ScriptedObject, asked: bytes) -> Iterator[bytes]:
        for byte in asked:
            scripted.ended.wait(pause)
            yield bytes([byte])

    return answer


def longer(extra: bytes) -> Answer:
    """All, and more."""

    def answer(scripted: ScriptedObject, asked: bytes) -> Iterator[bytes]:
        yield from whole(scripted, asked + extra)

    return answer


def then(change: Callable[[ScriptedObject], None], answer: Answer) -> Answer:
    """Change something when the answer is over, however that ends."""

    def changing(scripted: ScriptedObject, asked: bytes) -> Iterator[bytes]:
        try:
            yield from answer(scripted, asked)
        finally:
            change(scripted)

    return changing


def missing(_: ScriptedObject, __: bytes) -> Iterator[bytes]:
    """There is no such object."""
    raise AssertionError("nobody asks a missing object for its bytes")
