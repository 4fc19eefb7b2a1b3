"""Batches of clusters by native code: what it takes is what the Python way takes, byte for byte, and no more.

None of this is skipped where the native code is missing: the project's own environment is to have it.
"""

import random
import subprocess
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator

import pytest
import zstandard

from manifest_service.disks import inflation
from manifest_service.disks.inflation import BrokenCluster, ClusterBatch, decompressor
from manifest_service.disks.qcow2 import batches
from manifest_service.disks.qcow2.batches import batch_decompressor
from manifest_service.disks.qcow2.compression import ClusterError
from manifest_service.disks.runs import CompressionMethod
from tests.disks.catalogue.case import CLUSTER, TEXT

METHODS: list[CompressionMethod] = ["zlib", "zstd"]
GUARD = b"\xa5" * 64


def one_cluster(
    method: CompressionMethod, cluster_size: int, place: int, size: int, padding: int, position: int
) -> ClusterBatch:
    """A batch of a single cluster."""
    sizes, paddings, positions = (array("I", [value]) for value in (size, padding, position))
    return ClusterBatch(method, cluster_size, array("Q", [place]), sizes, paddings, positions)


def taken_natively(batch: ClusterBatch, data: memoryview, output: memoryview, first: int = 0) -> int:
    """How many clusters of a batch native code takes, from `first` on, before it leaves one."""
    decompress = batch_decompressor(batch.method)
    assert decompress is not None, "native code was not built, or a wheel no longer exports its library"
    columns = (batch.places, batch.sizes, batch.paddings, batch.positions)
    return decompress(data, output, batch.cluster_size, *columns, batch.start, first) - first


def pack(method: CompressionMethod, content: bytes, rng: random.Random) -> bytes:
    """Compress in one of many ways."""
    if method == "zlib":
        compressor = zlib.compressobj(rng.randint(1, 9), zlib.DEFLATED, -rng.randint(9, 15), strategy=rng.randint(0, 4))
        return compressor.compress(content) + compressor.flush()
    return zstandard.ZstdCompressor(
        level=rng.choice([1, 3, 9, 19]), write_checksum=rng.random() < 0.5, write_content_size=rng.random() < 0.8
    ).compress(content)


def make_content(rng: random.Random, size: int) -> bytes:
    """Text, noise or both: codes, literals and matches of all lengths."""
    words = [rng.randbytes(rng.randint(1, 9)) for _ in range(rng.choice([2, 40, 300]))]
    text = b"".join(rng.choices(words, k=size))[:size]
    split = rng.choice([0, size, rng.randrange(size)])
    return text[:split] + rng.randbytes(size - split) if rng.random() < 0.7 else bytes(size)


def damage_stream(rng: random.Random, stream: bytes) -> bytes:
    """A stream with wrong bits or bytes, cut, joined with others, or left as it is."""
    damaged = bytearray(stream)
    kind = rng.randrange(6)
    if kind < 3:
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(min(len(damaged), rng.choice([20, 1 << 30])))
            damaged[place] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del damaged[rng.randrange(len(damaged)) :]
    elif kind == 4:
        start = rng.randrange(len(damaged))
        damaged[start : start + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
    return bytes(damaged)


def check_batch(seed: int, method: CompressionMethod) -> tuple[int, int]:
    """Hold a batch of clusters, most of them damaged, against the Python way; how many each of both takes."""
    rng = random.Random(seed)
    size = rng.choice([512, 4096, 65536])
    data = bytearray()
    batch = ClusterBatch(method, size)
    for index in range(rng.randint(1, 8)):
        content = make_content(rng, rng.choice([size, size, size, size - 1, size + 1]))
        stream = pack(method, content, rng)
        if rng.random() < 0.7:
            stream = damage_stream(rng, stream)
        stream += rng.choice([b"", rng.randbytes(rng.randint(1, 600))])
        padding = rng.choice([0, 0, rng.randint(0, 600)])
        batch.places.append(len(data))
        batch.sizes.append(len(stream) + padding)
        batch.paddings.append(padding)
        batch.positions.append(len(GUARD) + index * (size + len(GUARD)))
        data += stream + bytes(padding)
    expected = (GUARD + bytes(size)) * len(batch.places) + GUARD
    by_python, by_native = bytearray(expected), bytearray(expected)
    one = decompressor(method, size, memoryview(data), memoryview(by_python))
    taken = accepted = 0
    for index, cluster in enumerate(zip(batch.places, batch.sizes, batch.paddings, batch.positions, strict=True)):
        start = batch.positions[index]
        alone = one_cluster(method, size, *cluster)
        took = taken_natively(alone, memoryview(data), memoryview(by_native))
        try:
            one(*cluster)
        except ClusterError:
            assert not took, f"seed {seed}, cluster {index}: native code takes what is broken"
        else:
            accepted += 1
            if took:
                assert by_native[start : start + size] == by_python[start : start + size], f"seed {seed}"
        taken += took
        guard = by_native[start + size : start + size + len(GUARD)]
        assert guard == GUARD, f"seed {seed}: written behind a cluster"
        assert by_native[start - len(GUARD) : start] == GUARD, f"seed {seed}: written before a cluster"
    return taken, accepted


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_damaged_clusters_are_judged_alike(method: CompressionMethod) -> None:
    results = [check_batch(seed, method) for seed in range(300)]
    taken, accepted = (sum(column) for column in zip(*results, strict=True))
    assert 0 < taken <= accepted
    assert accepted > 100


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("native", [True, False])
def test_a_batch_is_the_same_with_and_without_native_code(
    method: CompressionMethod, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters that native code leaves stand between others that it takes."""
    if not native:
        monkeypatch.setattr(inflation, "batch_decompressor", lambda method: None)
    rng = random.Random(1)
    contents = [make_content(rng, CLUSTER) for _ in range(40)]
    data, batch = bytearray(), ClusterBatch(method, CLUSTER)
    for index, content in enumerate(contents):
        stream = pack(method, content, rng)
        if method == "zstd" and index % 3 == 0:
            stream = b"".join(zstandard.ZstdCompressor().compress(half) for half in (content[:100], content[100:]))
        batch.places.append(len(data))
        batch.sizes.append(len(stream))
        batch.paddings.append(0)
        batch.positions.append((len(contents) - 1 - index) * CLUSTER)
        data += stream
    output = memoryview(bytearray(len(contents) * CLUSTER))
    batch.inflate(memoryview(data), output)
    assert output == b"".join(reversed(contents))

    data[batch.places[30] : batch.places[30] + batch.sizes[30]] = b"\x07" * batch.sizes[30]
    with pytest.raises(BrokenCluster) as caught:
        batch.inflate(memoryview(data), output)
    assert caught.value.index == 30


def _other_frames() -> Iterator[bytes]:
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT[:CLUSTER])
    yield frame[:-1] + bytes([frame[-1] ^ 1])  # the checksum
    yield frame[:-1]
    yield (0x184D2A50).to_bytes(4, "little") + bytes(4) + frame  # a skippable frame before it
    yield zstandard.ZstdCompressor(write_content_size=False).compress(TEXT[:CLUSTER])


@pytest.mark.parametrize("number", range(4))
def test_frames_of_other_kinds_are_left_to_the_thorough_way(number: int) -> None:
    stream = list(_other_frames())[number]
    batch = one_cluster("zstd", CLUSTER, 0, len(stream), 0, 0)
    assert taken_natively(batch, memoryview(stream), memoryview(bytearray(CLUSTER))) == 0


@pytest.mark.parametrize("window_log", [10, 12, 27, 28, 31, 32, 41])
@pytest.mark.parametrize("dictionary", [None, 0, 5])
@pytest.mark.parametrize("content_size", [CLUSTER, CLUSTER - 1, None])
def test_headers_of_frames_are_judged_alike(window_log: int, dictionary: int | None, content_size: int | None) -> None:
    header = bytes([(0x80 if content_size else 0) | (dictionary is not None), (window_log - 10) << 3])
    header += b"" if dictionary is None else bytes([dictionary])
    header += content_size.to_bytes(4, "little") if content_size else b""
    stream = b"\x28\xb5\x2f\xfd" + header + (1 | CLUSTER << 3).to_bytes(3, "little") + TEXT[:CLUSTER]
    by_native, by_python = bytearray(CLUSTER), bytearray(CLUSTER)
    batch = one_cluster("zstd", CLUSTER, 0, len(stream), 0, 0)
    taken = taken_natively(batch, memoryview(stream), memoryview(by_native))
    one = decompressor("zstd", CLUSTER, memoryview(stream), memoryview(by_python))
    try:
        one(0, len(stream), 0, 0)
    except ClusterError:
        assert not taken
    else:
        assert not taken or by_native == by_python == TEXT[:CLUSTER]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("place", "size", "padding", "position"),
    [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (0, -1, 1 << 31, 0), ((1 << 64) - 1, 0, 0, 0), (0, 0, 0, 0xFFFFFFFF)],
)
def test_nothing_outside_of_the_buffers_is_touched(
    method: CompressionMethod, place: int, size: int, padding: int, position: int
) -> None:
    stream = pack(method, TEXT[:CLUSTER], random.Random(1))
    batch = one_cluster(method, CLUSTER, place, len(stream) + size, padding, position)
    with pytest.raises(IndexError):
        taken_natively(batch, memoryview(stream), memoryview(bytearray(CLUSTER)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("native", [True, False])
def test_places_count_from_where_the_input_begins(
    method: CompressionMethod, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(inflation, "batch_decompressor", lambda method: None)
    stream = pack(method, TEXT[:CLUSTER], random.Random(1))
    batch = one_cluster(method, CLUSTER, (1 << 55) + 3, len(stream), 0, 0)
    batch.start = 1 << 55
    output = bytearray(CLUSTER)

    batch.inflate(memoryview(b"abc" + stream), memoryview(output))

    assert output == TEXT[:CLUSTER]


@pytest.mark.parametrize("method", METHODS)
def test_a_place_before_the_input_begins_is_outside(method: CompressionMethod) -> None:
    stream = pack(method, TEXT[:CLUSTER], random.Random(1))
    batch = one_cluster(method, CLUSTER, 0, len(stream), 0, 0)
    batch.start = 1
    with pytest.raises(IndexError):
        taken_natively(batch, memoryview(stream), memoryview(bytearray(CLUSTER)))


Call = Callable[..., int]


@pytest.mark.parametrize("method", METHODS)
def test_arguments_that_do_not_fit_together_are_refused(method: CompressionMethod) -> None:
    decompress: Call | None = batch_decompressor(method)
    assert decompress is not None
    data, output = memoryview(bytes(100)), memoryview(bytearray(100))
    place, one, two = array("Q", [0]), array("I", [0]), array("I", [0, 0])
    wrong: list[tuple[object, ...]] = [
        (100, place, one, one, two, 0, 0),
        (100, one, one, one, one, 0, 0),
        (100, place, two, one, one, 0, 0),
        (0, place, one, one, one, 0, 0),
        (-1, place, one, one, one, 0, 0),
        (1 << 31, place, one, one, one, 0, 0),
        (100, place, one, one, one, 0, -1),
        (100, place, one, one, one, 0, 2),
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match="do not fit together"):
            decompress(data, output, *arguments)
    with pytest.raises((TypeError, BufferError)):
        decompress(data, memoryview(bytes(100)), 100, place, one, one, one, 0, 0)
    assert decompress(data, output, 100, place, one, one, one, 0, 1) == 1
    assert decompress(data, output, 100, array("Q"), *[array("I")] * 3, 0, 0) == 0


def test_without_native_code_python_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "manifest_service.disks.qcow2.native", None)
    assert batch_decompressor.__wrapped__("zlib") is None
    monkeypatch.undo()
    monkeypatch.setattr(batches, "_ZSTD", ("ZSTD_createDCtx", "no_such_function"))
    assert batch_decompressor.__wrapped__("zstd") is None


def test_an_operator_can_see_which_way_is_used() -> None:
    command = [sys.executable, "-m", "manifest_service.disks.inflation"]
    assert subprocess.check_output(command, text=True) == "zlib: native\nzstd: native\n"
