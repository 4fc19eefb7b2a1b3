"""Memory of buffers."""

from resource import RUSAGE_SELF, getrusage

import pytest

from manifest_service.disks.buffers import BufferPool
from manifest_service.disks.limits import MIB


def test_a_buffer_takes_the_memory_that_is_filled() -> None:
    """Its pages come with the first bytes that are written to them (page faults, which the kernel counts)."""
    pool = BufferPool(64 * MIB, 1)
    before = getrusage(RUSAGE_SELF).ru_minflt

    buffer = pool.take()
    buffer.memory[:MIB] = bytes(MIB)

    assert getrusage(RUSAGE_SELF).ru_minflt - before < 16 * MIB // 4096


def test_too_little_memory_is_said_as_python_says_it() -> None:
    with pytest.raises(MemoryError):
        BufferPool(1 << 62, 1).take()
