"""Inflating clusters: one whole cluster or an error, in bounded memory."""

import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from manifest_service.disks.inflation import decompressor
from manifest_service.disks.qcow2.compression import ClusterError
from manifest_service.disks.runs import CompressionMethod
from tests.disks.catalogue.case import CLUSTER, TEXT
from tests.disks.qcow2_writer import deflate
from tests.disks.test_batches import one_cluster, taken_natively


def _expand(method: CompressionMethod, stream: bytes, size: int, padding: int = 0) -> bytes:
    """Decompress what stands between other bytes, to a place between other bytes, which must stay as they are.

    Native code is asked too: what it takes must be the same, and what it leaves alone, it must leave whole.
    """
    before, after = b"before", b"behind"
    data = memoryview(bytearray(before + stream + bytes(padding) + after))
    output, native_output = (bytearray(before + bytes(size) + after) for _ in range(2))
    batch = one_cluster(method, size, len(before), len(stream) + padding, padding, len(before))
    taken = taken_natively(batch, data, memoryview(native_output))
    try:
        decompressor(method, size, data, memoryview(output))(len(before), len(stream) + padding, padding, len(before))
    except ClusterError:
        assert not taken
        raise
    finally:
        for each in (output, native_output):
            assert each.startswith(before)
            assert each.endswith(after)
    if taken:
        assert output == native_output
    return bytes(output[len(before) : -len(after)])


def _zlib_expands(stream: bytes, size: int) -> bytes | None:
    """What qemu's way of calling zlib gives."""
    decoder = zlib.decompressobj(-15)
    try:
        cluster = decoder.decompress(stream, size)
    except zlib.error:
        return None
    return cluster if len(cluster) == size else None


@given(st.binary(min_size=1, max_size=3000), st.binary(max_size=600), st.integers(1, 9), st.integers(9, 15))
def test_zlib_streams_give_their_content(content: bytes, after: bytes, level: int, window_bits: int) -> None:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    stream = compressor.compress(content) + compressor.flush()
    assert _expand("zlib", stream + after, len(content)) == content
    assert _expand("zlib", stream, len(content), padding=len(after)) == content
    with pytest.raises(ClusterError):
        _expand("zlib", stream + after, len(content) + 1)


@given(
    st.lists(st.binary(min_size=1, max_size=1000), min_size=1, max_size=5), st.booleans(), st.booleans(), st.binary()
)
def test_zstd_frames_give_their_content(parts: list[bytes], checksum: bool, sized: bool, after: bytes) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=sized)
    stream = b"".join(compressor.compress(part) for part in parts)
    content = b"".join(parts)
    assert _expand("zstd", stream + after, len(content)) == content
    with pytest.raises(ClusterError):
        _expand("zstd", stream, len(content) + 1, padding=20)
    if len(parts[-1]) > 1:
        with pytest.raises(ClusterError):
            _expand("zstd", stream + after, len(content) - 1)


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_stream_that_is_cut_is_an_error_whatever_is_padded(cut: int, padding: int) -> None:
    content = random.Random(1).randbytes(300) + TEXT[:300]
    zlib_stream = deflate(content)
    zstd_stream = zstandard.ZstdCompressor().compress(content)
    with pytest.raises(ClusterError):
        _expand("zlib", zlib_stream[:-cut], len(content), padding)
    with pytest.raises(ClusterError):
        _expand("zstd", zstd_stream[:-cut], len(content), padding)


@pytest.mark.parametrize("seed", range(200))
def test_damaged_zlib_streams_are_judged_as_zlib_judges_them(seed: int) -> None:
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randint(2, 9)) for _ in range(200)]
    stream = bytearray(deflate(b"".join(rng.choices(words, k=CLUSTER // 2))[:CLUSTER]))
    for _ in range(rng.randint(1, 3)):
        # Not in the first bytes, which describe the codes: see the next test.
        stream[rng.randrange(200, len(stream))] ^= 1 << rng.randrange(8)
    expected = _zlib_expands(bytes(stream), CLUSTER)
    if expected is None:
        with pytest.raises(ClusterError):
            _expand("zlib", bytes(stream), CLUSTER)
    else:
        assert _expand("zlib", bytes(stream), CLUSTER) == expected


def _with_incomplete_codes() -> bytes:
    """A cluster of `a` whose distance codes, none of which is used, leave bits without a meaning (RFC 1951, 3.2.7)."""
    bits = "1" + "01"  # the last block; of dynamic codes, whose two bits are written low one first
    bits += _number(0, 5) + _number(2, 5) + _number(14, 4)  # 257 literals and lengths, 3 distances, 18 code lengths
    lengths = {18: 1, 2: 2, 1: 2}
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    bits += "".join(_number(lengths.get(symbol, 0), 3) for symbol in order)
    zeros, one, two = "0", "10", "11"
    bits += zeros + _number(97 - 11, 7) + one  # `a` has the code 0
    bits += zeros + _number(138 - 11, 7) + zeros + _number(20 - 11, 7) + one  # the end of the block has the code 1
    bits += two * 3  # three distances of 2 bits, where there is room for four
    bits += "0" * CLUSTER + "1"
    return int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


def _number(value: int, width: int) -> str:
    """Bits of a number, low one first."""
    return f"{value:0{width}b}"[::-1]


def test_incomplete_codes_are_refused_as_zlib_refuses_them() -> None:
    assert _zlib_expands(_with_incomplete_codes(), CLUSTER) is None
    with pytest.raises(ClusterError):
        _expand("zlib", _with_incomplete_codes(), CLUSTER)


def test_thousands_of_empty_zstd_frames_are_refused() -> None:
    """They would take a hundred times as long as data, in a file of a few KiB."""
    compressor = zstandard.ZstdCompressor()
    skippable = (0x184D2A50).to_bytes(4, "little") + bytes(4)
    content = compressor.compress(TEXT)

    assert _expand("zstd", skippable * 1000 + content, len(TEXT)) == TEXT
    with pytest.raises(ClusterError, match="more than 1024 zstd frames"):
        _expand("zstd", skippable * 1024 + content, len(TEXT))


@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_a_bomb_takes_no_more_memory_than_a_cluster(method: CompressionMethod) -> None:
    content = bytes(64 << 20)
    stream = deflate(content) if method == "zlib" else zstandard.ZstdCompressor().compress(content)
    tracemalloc.start()
    try:
        if method == "zlib":
            assert _expand(method, stream, 65536) == bytes(65536)
        else:
            with pytest.raises(ClusterError):
                _expand(method, stream, 65536)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
