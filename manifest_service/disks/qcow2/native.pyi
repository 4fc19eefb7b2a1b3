"""native.c: both inflate clusters from `first` on, and return the index of the first that they leave to others.

That is the number of clusters when they did all. `places` has 64 bits each; the data begin at the place `start`.
Raises IndexError for a cluster outside of its buffers.
"""

from array import array

from _typeshed import ReadableBuffer, WriteableBuffer

def inflate(
    functions: ReadableBuffer,
    data: ReadableBuffer,
    output: WriteableBuffer,
    cluster_size: int,
    places: array[int],
    sizes: array[int],
    paddings: array[int],
    positions: array[int],
    start: int,
    first: int,
    /,
) -> int: ...
def decompress(
    functions: ReadableBuffer,
    data: ReadableBuffer,
    output: WriteableBuffer,
    cluster_size: int,
    places: array[int],
    sizes: array[int],
    paddings: array[int],
    positions: array[int],
    start: int,
    first: int,
    /,
) -> int: ...
