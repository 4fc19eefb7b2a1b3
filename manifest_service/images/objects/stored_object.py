"""The face that all kinds of stores show: open the bytes at an offset, and say which version of them that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from glance_store import exceptions

from manifest_service.disks.limits import KIB
from manifest_service.errors import ComputationFailed, FailureCode

_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_BAD_CONFIGURATION = (exceptions.BadStoreConfiguration, exceptions.BadStoreUri)
"""What asking again at once does not change."""

AT_ONCE = 256 * KIB
"""Bytes of one part of an answer, where we have the choice."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


class StoreBroke(Exception):
    """A store did not answer, or its answer broke off: asked again, it may go on.

    reason: for the operator; nothing in it comes from a location, which can hold credentials.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ObjectMissing(Exception):
    """The store answers, and does not have the object."""


class ObjectChanged(Exception):
    """The store has another version of the object than the one that was read before."""


@dataclass(frozen=True)
class OpenedObject:
    """An answer with bytes of an object.

    offset: of the first of them. size: bytes of the whole object, where the store says it. mark: what names this
    version of it, where the store has such a thing. parts: raises StoreBroke where they break off; they may end early
    without a word. close: lets go of the answer, whether it was read or not.
    """

    offset: int
    size: int | None
    mark: str | None
    parts: Iterator[bytes]
    close: Callable[[], None]


class StoredObject(Protocol):
    """An image's bytes in a store."""

    @property
    def kind(self) -> str:
        """What it is read from, for the history: the kind of store, and nothing of the location."""
        ...

    @property
    def is_random(self) -> bool:
        """Whether single ranges of it can be had cheaply, if it also has a mark."""
        ...

    def open(self, offset: int, length: int | None = None, mark: str | None = None) -> OpenedObject:
        """Ask for the bytes from `offset` on: `length` of them, or all.

        Where the store can do no other, what comes begins at the first byte and does not end early: see what is said.
        mark: of the version that was read before. Raises StoreBroke, ObjectMissing, ObjectChanged, ComputationFailed.
        """
        ...


def range_header(offset: int, length: int | None) -> dict[str, str]:
    """The header that asks for a range; none for the whole object, which also an empty one has."""
    if offset == 0 and length is None:
        return {}
    return {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}


def placed(content_range: str | None, content_length: str | int | None) -> tuple[int, int | None]:
    """Where an answer's bytes begin, and the bytes of the whole object, by its headers. Raises StoreBroke."""
    if content_range is None:
        if content_length is not None and not str(content_length).isdecimal():
            raise StoreBroke("its Content-Length is none")
        return 0, None if content_length is None else int(content_length)
    found = _CONTENT_RANGE.fullmatch(content_range)
    if found is None:
        raise StoreBroke("its Content-Range is none")
    return int(found[1]), None if found[2] == "*" else int(found[2])


@contextmanager
def store_errors(kind: str, status_of: Callable[[Exception], int | None]) -> Iterator[None]:
    """Raise what a store's library raises as our own errors. Their words are dropped: they may quote the location.

    status_of: the HTTP status in an error of the library, if it has one.
    """
    try:
        yield
    except (StoreBroke, ObjectMissing, ObjectChanged, ComputationFailed):
        raise
    except Exception as error:
        status = status_of(error)
        if status == HTTPStatus.NOT_FOUND:
            raise ObjectMissing from None
        if status == HTTPStatus.PRECONDITION_FAILED:
            raise ObjectChanged from None
        if status in _REFUSED or isinstance(error, _BAD_CONFIGURATION):
            said = type(error).__name__ if status is None else f"status {status}"
            raise ComputationFailed(
                FailureCode.SOURCE_UNREADABLE,
                f"the {kind} store does not let us read, as it is configured here ({said})",
                retriable=True,
            ) from None
        said = type(error).__name__ if status is None else f"status {status}"
        raise StoreBroke(f"the {kind} store cannot be read ({said})") from None


def parts_of(kind: str, parts: Iterator[bytes], status_of: Callable[[Exception], int | None]) -> Iterator[bytes]:
    """The parts of an answer, with the errors of `store_errors`."""
    with store_errors(kind, status_of):
        yield from parts


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by its name in lower case, whatever kind of mapping the library gives."""
    return next((value for key, value in headers.items() if key.lower() == name), None)
