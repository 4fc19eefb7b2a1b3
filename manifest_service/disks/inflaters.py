"""Those who inflate batches: threads, each of which gets a child process once an image proves to be worth one."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from queue import Empty, SimpleQueue
from typing import BinaryIO, cast

from manifest_service.disks.buffers import Buffer, SharedMemory
from manifest_service.disks.inflation import ANSWER, BrokenCluster, ClusterBatch
from manifest_service.errors import ComputationFailed, FailureCode

_WITHOUT_CHILDREN = 8
"""Batches of an image that are inflated in this process. To start a child takes as long as these do."""


class Inflaters:
    """Inflates batches side by side. Use `close` in any case: it ends threads and child processes."""

    def __init__(self, memory: SharedMemory, memory_size: int, most: int) -> None:
        """memory: where all input and output buffers lie, and its size in bytes. most: batches at a time."""
        self._memory = memory
        self._memory_size = memory_size
        self._executor = ThreadPoolExecutor(most, "inflate")
        self._batches = count()
        self._children: list[_Child] = []
        self._idle: SimpleQueue[_Child] = SimpleQueue()

    def submit(self, batch: ClusterBatch, data: Buffer, output: Buffer) -> Future[Buffer]:
        """Inflate from `data`, which is released, to `output`, which the future gives.

        The future raises BrokenCluster, or ComputationFailed if a child process ended.
        """
        return self._executor.submit(self._inflate, next(self._batches), batch, data, output)

    def close(self) -> None:
        """End threads and children; what they were asked for is not waited for."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.close()

    def _inflate(self, number: int, batch: ClusterBatch, data: Buffer, output: Buffer) -> Buffer:
        if number < _WITHOUT_CHILDREN:
            batch.inflate(data.view, output.memory)
        else:
            child = self._take_child()
            child.inflate(batch, data, output)
            self._idle.put(child)
        data.release()
        return output

    def _take_child(self) -> _Child:
        """An idle child, or one more: there are as many as threads at most, since a thread has one at a time."""
        try:
            return self._idle.get_nowait()
        except Empty:
            child = _Child(self._memory, self._memory_size)
            self._children.append(child)
            return child


class _Child:
    """One child process, asked by one thread at a time."""

    def __init__(self, memory: SharedMemory, memory_size: int) -> None:
        # -P: a folder that somebody else can write to must not provide our modules because we stand in it.
        command = [sys.executable, "-P", "-m", "manifest_service.disks.inflating_child"]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, str(memory.descriptor), str(memory_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[memory.descriptor],
            start_new_session=True,  # Ctrl-C is for the parent.
        )
        self._requests = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)

    def inflate(self, batch: ClusterBatch, data: Buffer, output: Buffer) -> None:
        """Have a batch inflated. Raises BrokenCluster, or ComputationFailed if the process ended."""
        try:
            self._requests.write(batch.to_request(data.offset, data.length, output.offset))
            self._requests.flush()
            answer = self._answers.read(ANSWER.size)
        except BrokenPipeError:
            answer = b""
        if len(answer) != ANSWER.size:
            raise ComputationFailed(
                FailureCode.INTERNAL_ERROR,
                f"a process that inflates clusters ended with exit code {self._process.wait()}",
                retriable=True,
            )
        index, length = ANSWER.unpack(answer)
        if index >= 0:
            raise BrokenCluster(index, self._answers.read(length).decode())

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.communicate()
