"""Compressed clusters: exactly one cluster comes out of each, or an error; never more memory than that.

A descriptor counts its compressed bytes in sectors, so that bytes of a neighbour follow the stream: they are ignored.
Specification: section "Compressed Clusters Descriptor", header field "compression_type".
"""

from __future__ import annotations

from typing import Protocol


class ClusterError(Exception):
    """Compressed bytes that do not give a whole cluster."""


class Decompressor(Protocol):
    """Decompresses clusters from one buffer to another; for use by one thread."""

    def __call__(self, place: int, size: int, padding: int, position: int) -> None:
        """Write a whole cluster to the output at `position`; there must be room for it.

        place, size: where the bytes that its descriptor names lie in the input. padding: how many of these, at the end,
            are not in the file: they are zeros, and a stream that needs them is not whole.
        Raises ClusterError if there is not all of it; the output is undefined then.
        """
        ...
