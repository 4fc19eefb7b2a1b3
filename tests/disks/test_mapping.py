"""The map of a disk: whatever the tables say, runs cover the disk once, and lie in the file."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.disks.opening import open_disk
from manifest_service.disks.qcow2 import descriptors, tables
from manifest_service.disks.qcow2.descriptors import COMPRESSED
from manifest_service.disks.runs import Compressed, Run, Stored, Zeros
from manifest_service.errors import ImageRefused
from tests.disks.catalogue.case import CLUSTER, FIRST, PLAIN, SECOND, TEXT
from tests.disks.qcow2_writer import EXTENDED_L2, Cluster, Data, Entry, Image, Packed, deflate
from tests.disks.sources import BytesSource, sha256, verdict


def _runs(image: Image) -> list[Run]:
    return list(open_disk(BytesSource(image.write()), "qcow2").runs())


def test_neighbours_are_joined() -> None:
    image = Image({0: Data(FIRST), 1: Data(SECOND), 2: Entry(1), 4: Data(FIRST)}, 6 * CLUSTER, 12)
    start = image.data_offset
    assert _runs(image) == [
        Stored(start, 2 * CLUSTER),
        Zeros(2 * CLUSTER),
        Stored(start + 2 * CLUSTER, CLUSTER),
        Zeros(CLUSTER),
    ]


def test_what_is_out_of_order_in_the_file_is_not_joined() -> None:
    image = Image({0: Data(FIRST), 1: Data(SECOND)}, 2 * CLUSTER, 12)
    first, second = image.data_offset, image.data_offset + CLUSTER
    swapped = image.but(clusters={0: Entry(second), 1: Entry(first), 7: Data(FIRST), 8: Data(SECOND)})
    assert _runs(swapped) == [Stored(second, CLUSTER), Stored(first, CLUSTER)]


def test_the_last_cluster_is_cut_where_the_disk_ends() -> None:
    image = Image({0: Data(FIRST), 1: Packed(deflate(TEXT))}, CLUSTER + 1000, 12)
    last = _runs(image)[-1]
    assert isinstance(last, Compressed)
    assert (last.length, last.cluster_size) == (512, CLUSTER)


def test_an_empty_disk_has_no_runs() -> None:
    assert _runs(Image(size=0)) == []


def test_empty_tables_and_missing_tables_are_zeros() -> None:
    coverage = CLUSTER * CLUSTER // 8
    image = Image({2 * coverage // CLUSTER: Entry(0)}, 5 * coverage, 12)
    assert _runs(image) == [Zeros(5 * coverage)]


@pytest.mark.slow
@pytest.mark.parametrize("is_native", [True, False])
def test_a_table_of_all_kinds_in_turn_takes_time_by_its_length(
    is_native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest table there is. To begin each run with a look through all before it would take many minutes."""
    if not is_native:
        monkeypatch.setattr(descriptors, "native", None)
    count = (1 << 21) // 8
    words = [Entry(COMPRESSED | 512), Entry(0)]
    image = Image({index: words[index % 2] for index in range(count)}, count << 21, 21)

    runs = _runs(image)

    assert [type(run) for run in runs] == [Compressed, Zeros] * (count // 2)


def test_runs_are_given_out_before_they_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LONGEST_RUN", 8 * CLUSTER)
    runs = _runs(Image(size=40 * CLUSTER, cluster_bits=12, clusters={30: Data(FIRST)}))
    assert sum(run.length for run in runs) == 40 * CLUSTER
    assert max(run.length for run in runs) <= 9 * CLUSTER


def test_a_table_is_read_only_when_its_runs_are_asked_for() -> None:
    coverage = CLUSTER * CLUSTER // 8
    image = Image({0: Data(FIRST), coverage // CLUSTER: Entry(CLUSTER + 512)}, 2 * coverage, 12)
    runs = open_disk(BytesSource(image.write()), "qcow2").runs()
    assert next(runs) == Stored(image.data_offset, CLUSTER)
    with pytest.raises(ImageRefused, match="not the start of a cluster"):
        list(runs)


_CLUSTERS = st.one_of(
    st.builds(Data, st.binary(min_size=1, max_size=8), st.just(0), st.integers(0, 2**32 - 1)),
    st.builds(Data, st.binary(min_size=1, max_size=8), st.sampled_from([0, 1 << 63]), st.just(2**32 - 1)),
    st.builds(Packed, st.binary(min_size=1, max_size=2000), st.integers(0, 3)),
    st.builds(Entry, st.sampled_from([0, 1, 1 << 63]), st.just(0)),
    st.builds(Entry, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)


@given(
    clusters=st.dictionaries(st.integers(0, 40), _CLUSTERS, max_size=12),
    size=st.integers(0, 40 * 16384),
    cluster_bits=st.sampled_from([9, 12, 14]),
    incompatible=st.sampled_from([0, EXTENDED_L2]),
    cut=st.integers(0, 40000),
)
def test_runs_cover_the_disk_once_and_lie_in_the_file(
    clusters: dict[int, Cluster], size: int, cluster_bits: int, incompatible: int, cut: int
) -> None:
    image = Image({}, size, cluster_bits, incompatible=incompatible if cluster_bits >= 14 else 0)
    mapped = image.l1_entries * image.l2_entries
    image = image.but(clusters={index: cluster for index, cluster in clusters.items() if index < mapped})
    data = image.write()
    source = BytesSource(data[: max(len(data) - cut, 2 << cluster_bits)])
    done = 0
    try:
        for run in open_disk(source, "qcow2").runs():
            assert run.length > 0
            done += run.length
            if isinstance(run, Stored):
                assert 0 < run.offset <= run.offset + run.length <= source.size
            if isinstance(run, Compressed):
                assert max(run.offsets) < source.size
                assert max(run.sizes) <= 2 * run.cluster_size
        assert done == size // 512 * 512
    except ImageRefused:
        assert done <= size


@pytest.mark.parametrize("seed", range(20))
def test_a_disk_in_any_order_is_read_in_guest_order(seed: int) -> None:
    rng = random.Random(seed)
    contents = {index: rng.choice([FIRST, SECOND, TEXT, rng.randbytes(CLUSTER)]) for index in range(40)}
    kept = {index: content for index, content in contents.items() if rng.random() < 0.7}
    image = Image({i: Packed(deflate(c)) if rng.random() < 0.4 else Data(c) for i, c in kept.items()}, 40 * CLUSTER, 12)
    assert verdict(BytesSource(image.write())) == sha256(
        b"".join(kept.get(index, bytes(CLUSTER)) for index in range(40))
    )


def test_plain_image_reads_nothing_twice_but_its_header() -> None:
    source = BytesSource(PLAIN.write())
    verdict(source)
    behind_header = sorted(read for read in source.reads if read[0] >= CLUSTER)
    for (offset, length), (following, _) in pairwise(behind_header):
        assert offset + length <= following
