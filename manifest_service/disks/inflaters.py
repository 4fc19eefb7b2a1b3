"""Those who inflate batches: this process for a small image, child processes once an image proves to be worth them."""

from __future__ import annotations

import subprocess
import sys
from typing import BinaryIO, Protocol, cast

from manifest_service.disks.buffers import Buffer, SharedMemory
from manifest_service.disks.inflation import ANSWER, BrokenCluster, ClusterBatch
from manifest_service.errors import ComputationFailed, FailureCode

_WITHOUT_CHILDREN = 8
"""Batches of an image that are inflated in this process. To start a child takes as long as these do."""


class Inflation(Protocol):
    """A batch that is being inflated."""

    def result(self) -> Buffer:
        """Wait for the clusters; ask for the batches of one `Inflaters` in the order in which they were submitted.

        Raises BrokenCluster, or ComputationFailed if a child process ended.
        """
        ...


class Inflaters:
    """Inflates batches side by side, for one thread. Use `close` in any case: it ends the child processes.

    The children are given batches in turn, and each works through its own in order: the next one waits in the pipe
    already when a batch is done, so that a child never waits for us.
    """

    def __init__(self, memory: SharedMemory, memory_size: int, most: int) -> None:
        """memory: where all input and output buffers lie, and its size in bytes. most: batches at a time."""
        self._memory = memory
        self._memory_size = memory_size
        self._most = most
        self._submitted = 0
        self._children: list[_Child] = []

    def submit(self, batch: ClusterBatch, data: Buffer, output: Buffer) -> Inflation:
        """Have a batch inflated from `data`, which is released when that is done, to `output`, which comes back.

        Raises ComputationFailed if a child process ended.
        """
        self._submitted += 1
        if self._submitted <= _WITHOUT_CHILDREN:
            return _InThisProcess(batch, data, output)
        if len(self._children) < self._most:
            self._children.append(_Child(self._memory, self._memory_size))
        return self._children[self._submitted % len(self._children)].inflate(batch, data, output)

    def close(self) -> None:
        """End the children; what they were asked for is not waited for."""
        for child in self._children:
            child.close()


class _InThisProcess:
    """Inflates when the result is asked for."""

    def __init__(self, batch: ClusterBatch, data: Buffer, output: Buffer) -> None:
        self._batch = batch
        self._data = data
        self._output = output

    def result(self) -> Buffer:
        self._batch.inflate(self._data.view, self._output.memory)
        self._data.release()
        return self._output


class _InChild:
    """Waits for the next answer of a child."""

    def __init__(self, child: _Child, data: Buffer, output: Buffer) -> None:
        self._child = child
        self._data = data
        self._output = output

    def result(self) -> Buffer:
        self._child.take_answer()
        self._data.release()
        return self._output


class _Child:
    """One child process."""

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

    def inflate(self, batch: ClusterBatch, data: Buffer, output: Buffer) -> Inflation:
        """Ask for a batch, after those that were asked for before."""
        try:
            self._requests.write(batch.to_request(data.offset, data.length, output.offset))
            self._requests.flush()
        except BrokenPipeError:
            raise self._has_ended() from None
        return _InChild(self, data, output)

    def take_answer(self) -> None:
        """Wait for the oldest batch that was not answered yet."""
        answer = self._answers.read(ANSWER.size)
        if len(answer) != ANSWER.size:
            raise self._has_ended()
        index, length = ANSWER.unpack(answer)
        if index >= 0:
            raise BrokenCluster(index, self._answers.read(length).decode())

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.communicate()

    def _has_ended(self) -> ComputationFailed:
        return ComputationFailed(
            FailureCode.INTERNAL_ERROR,
            f"a process that inflates clusters ended with exit code {self._process.wait()}",
            retriable=True,
        )
