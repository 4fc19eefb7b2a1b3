"""Several digests of one stream: all of it or an error, and never a thread left behind."""

import hashlib
import threading
import time
from collections.abc import Callable

import pytest

from manifest_service.digests.algorithms import DiskDigest, new_digest
from manifest_service.digests.fanout import FanOut
from manifest_service.disks.buffers import Buffer, BufferPool
from manifest_service.disks.reading import read_disk
from manifest_service.disks.runs import Compressed, Zeros
from manifest_service.errors import ImageRefused, RefusalCode
from tests.disks.qcow2_writer import deflate
from tests.disks.sources import BytesSource
from tests.disks.test_reading import MappedDisk, compressed
from tests.waiting import eventually


class FailingDigest:
    """Fails after so many pieces, in whatever way."""

    def __init__(self, pieces: int, failure: BaseException) -> None:
        self._left = pieces
        self._failure = failure

    def data(self, view: memoryview) -> None:
        self._count()

    def zeros(self, length: int) -> None:
        self._count()

    def hexdigest(self) -> str:
        return "00"

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._failure


class ForgetfulDigest(FailingDigest):
    """Ends its thread's work without a word, as a thread that is killed would."""

    def _count(self) -> None:
        raise SystemExit


class SlowDigest(FailingDigest):
    def __init__(self) -> None:
        super().__init__(1 << 30, Exception())

    def _count(self) -> None:
        time.sleep(0.05)


class DigestUntil(FailingDigest):
    """Takes as long for a piece as it takes until something holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__(1 << 30, Exception())
        self.pieces = 0
        self._holds = holds

    def _count(self) -> None:
        self.pieces += 1
        eventually(self._holds)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("digest-")]


def _buffer(pool: BufferPool, content: bytes) -> Buffer:
    buffer = pool.take()
    buffer.length = len(content)
    buffer.view[:] = content
    return buffer


def test_all_digests_take_in_all_pieces_while_buffers_are_reused() -> None:
    pool = BufferPool(1000, 3)
    expected = bytearray()
    digests = {name: new_digest(name) for name in ("sha256", "md5", "blake3")}
    with FanOut(digests) as fan_out:
        for number in range(200):
            content = bytes([number]) * (number * 5)
            fan_out.put(_buffer(pool, content))
            fan_out.put(Zeros(number))
            expected += content + bytes(number)
        fan_out.finish()
    assert digests["sha256"].hexdigest() == hashlib.sha256(expected).hexdigest()
    assert digests["md5"].hexdigest() == hashlib.md5(expected).hexdigest()
    assert not _threads()


def test_without_digests_buffers_come_free_all_the_same() -> None:
    pool = BufferPool(10, 1)
    with FanOut({}) as fan_out:
        for _ in range(3):
            fan_out.put(_buffer(pool, b"x"))
        fan_out.finish()


@pytest.mark.parametrize("pieces", [0, 1, 50])
@pytest.mark.parametrize("failure", [ValueError("broken"), MemoryError("broken"), KeyboardInterrupt("broken")])
def test_a_failing_digest_fails_all(pieces: int, failure: BaseException) -> None:
    pool = BufferPool(10, 2)
    digests: dict[str, DiskDigest] = {"sha256": new_digest("sha256"), "bad": FailingDigest(pieces, failure)}

    def run(fan_out: FanOut) -> None:
        for _ in range(100):
            fan_out.put(_buffer(pool, b"some bytes"))
        fan_out.finish()

    with FanOut(digests) as fan_out, pytest.raises(type(failure), match="broken"):
        run(fan_out)
    assert not _threads()


def test_a_digest_that_ends_silently_gives_no_digest() -> None:
    with FanOut({"bad": ForgetfulDigest(0, Exception())}) as fan_out:
        fan_out.put(Zeros(5))
        with pytest.raises(SystemExit):
            fan_out.finish()


def test_a_digest_that_missed_bytes_is_an_error() -> None:
    with FanOut({"sha256": new_digest("sha256")}) as fan_out:
        fan_out.put(Zeros(5))
        fan_out._stations[0].length = -1
        with pytest.raises(RuntimeError, match="sha256 took in"):
            fan_out.finish()


def test_leaving_early_ends_threads_without_hashing_what_waits() -> None:
    slow = DigestUntil(lambda: fan_out._aborted)
    with FanOut({"slow": slow}) as fan_out:
        for _ in range(5):
            fan_out.put(Zeros(1))
    assert not _threads()
    assert slow.pieces <= 1


class InterruptedThread(threading.Thread):
    """Its second one starts, and then Ctrl-C meets whoever started it."""

    made = 0

    def start(self) -> None:
        super().start()
        type(self).made += 1
        if type(self).made == 2:
            raise KeyboardInterrupt


def test_ctrl_c_while_a_thread_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InterruptedThread, "made", 0)
    monkeypatch.setattr("manifest_service.digests.fanout.Thread", InterruptedThread)

    with FanOut({"slow": SlowDigest()}) as fan_out:
        fan_out.put(Zeros(1))
        with pytest.raises(KeyboardInterrupt):
            fan_out.put(Zeros(1))

    assert not _threads()


def test_threads_start_with_the_first_piece() -> None:
    FanOut({"sha256": new_digest("sha256")})
    assert not _threads()


CLUSTER = 65536


def _compressed(contents: list[bytes], broken: tuple[int, ...] = ()) -> tuple[MappedDisk, BytesSource]:
    """A disk of compressed clusters, each a run, some of them broken."""
    stored, runs = bytearray(), []
    for number, content in enumerate(contents):
        packed = b"\x07" * 100 if number in broken else deflate(content)
        runs.append(compressed(len(stored), len(packed), CLUSTER, CLUSTER))
        stored += packed
    return MappedDisk(list(runs)), BytesSource(bytes(stored))


def test_compressed_clusters_are_taken_in_in_order_by_all() -> None:
    contents = [bytes([number % 251]) * CLUSTER for number in range(500)]
    digests = {name: new_digest(name) for name in ("sha256", "md5", "blake3")}
    with FanOut(digests) as fan_out:
        for piece in read_disk(*_compressed(contents)):
            fan_out.put(piece)
        fan_out.finish()
    assert digests["sha256"].hexdigest() == hashlib.sha256(b"".join(contents)).hexdigest()
    assert digests["md5"].hexdigest() == hashlib.md5(b"".join(contents)).hexdigest()
    assert not _threads()


@pytest.mark.parametrize("consumers", [0, 1, 3])
def test_the_first_broken_cluster_is_named(consumers: int) -> None:
    disk, source = _compressed([bytes(CLUSTER)] * 300, broken=(70, 90, 110, 130))
    first = disk.mapped[70]
    assert isinstance(first, Compressed)
    # Without consumers nothing has an order.
    place = first.offsets[0] if consumers else r"\d+"

    def run(fan_out: FanOut) -> None:
        for piece in read_disk(disk, source):
            fan_out.put(piece)
        fan_out.finish()

    with (
        FanOut({str(number): new_digest("md5") for number in range(consumers)}) as fan_out,
        pytest.raises(ImageRefused, match=f"at byte {place} is broken: the deflate stream") as caught,
    ):
        run(fan_out)
    assert caught.value.code == RefusalCode.CORRUPT_DATA
    assert not _threads()


@pytest.mark.parametrize("pieces", [1, 5, 30])
@pytest.mark.slow
def test_leaving_early_while_clusters_are_inflated_ends_threads(pieces: int) -> None:
    disk, source = _compressed([bytes(CLUSTER)] * 1000)
    reading = read_disk(disk, source)
    with FanOut({"sha256": new_digest("sha256"), "slow": SlowDigest()}) as fan_out:
        for _ in range(pieces):
            fan_out.put(next(reading))
    reading.close()
    assert not _threads()


def test_a_failure_frees_the_buffers_that_whoever_reads_waits_for() -> None:
    disk, source = _compressed([bytes(CLUSTER)] * 1000)

    def run(fan_out: FanOut) -> None:
        for piece in read_disk(disk, source):
            fan_out.put(piece)

    with FanOut({"bad": FailingDigest(3, ValueError("broken"))}) as fan_out, pytest.raises(ValueError, match="broken"):
        run(fan_out)
    assert not _threads()
