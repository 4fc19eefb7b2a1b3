"""Disks in pieces: bytes, or an int for so many zeros."""

from collections.abc import Iterable

from manifest_service.digests.algorithms import Consumer

Piece = bytes | int


def content(disk: Iterable[Piece]) -> bytes:
    return b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in disk)


def feed(consumer: Consumer, disk: Iterable[Piece]) -> None:
    for piece in disk:
        if isinstance(piece, int):
            consumer.zeros(piece)
        else:
            consumer.data(memoryview(piece))
