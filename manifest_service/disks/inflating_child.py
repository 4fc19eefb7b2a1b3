"""The child process that inflates clusters; `inflation` tells what it is asked and answers.

Run as `python -m manifest_service.disks.inflating_child DESCRIPTOR SIZE` by `inflaters`: the shared memory.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from array import array
from typing import BinaryIO

from manifest_service.disks.inflation import ANSWER, HEADER, BrokenCluster, ClusterBatch

_COLUMNS = 4


def main(descriptor: int, size: int) -> None:
    """Answer requests until there are no more."""
    # Whoever stops a service signals all its processes at once: the parent decides, and closes our standard input.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(5)
    memory = memoryview(mmap.mmap(descriptor, size))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        method, cluster_size, data_offset, data_length, output_offset, count = HEADER.unpack(header)
        columns = [_read_column(requests, count) for _ in range(_COLUMNS)]
        batch = ClusterBatch.from_request(method, cluster_size, columns)
        try:
            batch.inflate(memory[data_offset : data_offset + data_length], memory[output_offset:])
        except BrokenCluster as broken:
            sentence = broken.reason.encode()
            answers.write(ANSWER.pack(broken.index, len(sentence)) + sentence)
        else:
            answers.write(ANSWER.pack(-1, 0))
        answers.flush()


def _read_column(requests: BinaryIO, count: int) -> array[int]:
    column = array("I")
    column.frombytes(requests.read(count * column.itemsize))
    return column


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except BrokenPipeError:
        os._exit(1)  # The parent has gone, and nobody is left to be told.
