"""Descriptors of compressed clusters: native code reads them as Python does. Neither is skipped where it is missing."""

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.disks.qcow2 import descriptors
from manifest_service.disks.qcow2.descriptors import COMPRESSED, Descriptors, find_extent, read_descriptors

ENTRIES = st.lists(
    st.integers(0, (1 << 64) - 1) | st.integers(0, (1 << 62) - 1).map(lambda low: low | COMPRESSED), max_size=20
)


def natively_and_not(do: Callable[[], object]) -> list[object]:
    assert descriptors.native is not None, "native code was not built"
    by_native = do()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptors, "native", None)
        return [by_native, do()]


@given(ENTRIES, st.integers(0, 22), st.integers(9, 21))
def test_entries_are_read_alike(entries: list[int], first: int, cluster_bits: int) -> None:
    by_native, by_python = natively_and_not(lambda: read_descriptors(array("Q", entries), first, cluster_bits))

    assert by_native == by_python
    assert isinstance(by_native, Descriptors)
    end = first + len(by_native.sizes)
    assert all(entry & COMPRESSED for entry in entries[first:end])
    assert not any(entry & COMPRESSED for entry in entries[max(first, end) :][:1])


@given(st.lists(st.tuples(st.integers(0, (1 << 61) - 1), st.integers(1, 1 << 22)), min_size=1))
def test_extents_are_found_alike(clusters: list[tuple[int, int]]) -> None:
    offsets, sizes = array("Q", [offset for offset, _ in clusters]), array("I", [size for _, size in clusters])

    by_native, by_python = natively_and_not(lambda: find_extent(offsets, sizes))

    assert by_native == by_python


@pytest.mark.parametrize(
    ("cluster_bits", "offset", "sectors"), [(9, (1 << 61) - 1, 1), (16, (1 << 54) - 512, 255), (21, 511, 8191)]
)
def test_what_an_entry_says(cluster_bits: int, offset: int, sectors: int) -> None:
    entry = COMPRESSED | sectors << 62 - (cluster_bits - 8) | offset

    for each in natively_and_not(lambda: read_descriptors(array("Q", [entry]), 0, cluster_bits)):
        assert each == (array("Q", [offset]), array("I", [(sectors + 1) * 512 - offset % 512]), offset)


@pytest.mark.parametrize("arguments", [(bytes(8), 0, 8), (bytes(8), 0, 22), (bytes(8), -1, 16), (bytes(7), 0, 16)])
def test_what_is_no_table_is_refused(arguments: tuple[Any, ...]) -> None:
    assert descriptors.native is not None
    with pytest.raises(ValueError, match="no descriptors"):
        descriptors.native.read_descriptors(*arguments)


@pytest.mark.parametrize("arguments", [(b"", b""), (bytes(8), bytes(8)), (bytes(8), bytes(3)), (bytes(9), bytes(4))])
def test_columns_of_different_lengths_are_refused(arguments: tuple[bytes, bytes]) -> None:
    assert descriptors.native is not None
    with pytest.raises(ValueError, match="not one size"):
        descriptors.native.find_extent(*arguments)
