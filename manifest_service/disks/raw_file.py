"""Writing a disk to a raw file, as Nova has it."""

from __future__ import annotations

import os

from manifest_service.disks.new_file import output_errors
from manifest_service.errors import OutputFailed

BLOCK = 4096
"""Blocks of zeros of this size become holes, as `qemu-img convert` does by default (-S 4k)."""
_ZEROS = bytes(BLOCK)


class SparseFileWriter:
    """Takes in a disk from beginning to end, and writes it to a file whose holes are its zeros."""

    def __init__(self, descriptor: int) -> None:
        """Begin at the first byte.

        descriptor: of a regular file, open for writing; what it held is gone. Raises OutputFailed, as all that writes.
        """
        with output_errors("written"):
            os.ftruncate(descriptor, 0)
        self._descriptor = descriptor
        self._length = 0

    def data(self, view: memoryview) -> None:
        data = bytes(view)  # Only bytes are compared at the speed of memory.
        start = 0
        for offset in range(-self._length % BLOCK, len(data) - BLOCK + 1, BLOCK):
            if data.startswith(_ZEROS, offset):
                self._write(view[start:offset], self._length + start)
                start = offset + BLOCK
        self._write(view[start:], self._length + start)
        self._length += len(data)

    def zeros(self, length: int) -> None:
        self._length += length

    def finish(self) -> None:
        """Give the file its length, zeros at its end included, and see that it has it."""
        with output_errors("written"):
            os.ftruncate(self._descriptor, self._length)
            size = os.fstat(self._descriptor).st_size
        if size != self._length:
            raise OutputFailed(f"the output has {size} bytes, where {self._length} were written")

    def _write(self, view: memoryview, offset: int) -> None:
        with output_errors("written"):
            while view:
                count = os.pwrite(self._descriptor, view, offset)
                view, offset = view[count:], offset + count
