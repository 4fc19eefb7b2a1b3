"""Every verdict, and what it rests on: a real API, real manifests, files that qemu-img made."""

import os
import shutil
import subprocess
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from manifest_service.digests.bmap import BlockMap
from manifest_service.disks.source import Source
from manifest_service.node import api_manifests, fsverity
from manifest_service.node.api_manifests import ApiClient, ApiManifests
from manifest_service.node.base_directory import cache_name_of, classify
from manifest_service.node.expectations import Expected
from manifest_service.node.scanning import Scan
from manifest_service.node.verdicts import FileVerdict
from manifest_service.node.verification import Settings, Verifier
from manifest_service.verdicts import Evidence, Verdict
from tests.builders import observation, observe
from tests.node.conftest import Node
from tests.node.images import DATA, MIB, SIZE, convert, make_disk, make_image

pytestmark = pytest.mark.slow


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def _differing(found: FileVerdict) -> int:
    return sum(length for _, length in found.differs)


@pytest.fixture
def image(tmp_path: Path, qemu_img: Path) -> Path:
    return make_image(tmp_path)


@pytest.fixture
def converted(node: Node, image: Path) -> Path:
    """A file of `_base` that is as it should be."""
    return convert(image, node.path_of(node.publish(image)))


def test_what_nova_converts_matches_by_a_sparse_digest(node: Node, converted: Path) -> None:
    found = node.check(converted)

    assert (found.verdict, found.evidence, found.algorithm) == (
        Verdict.MATCH,
        Evidence.SPARSE_DIGEST,
        "fsverity-sha256",
    )
    assert (found.name, found.size, found.differs) == ("image-1-True.qcow2", SIZE, ())


def test_a_flat_hash_on_demand(node: Node, converted: Path) -> None:
    found = node.check(converted, Settings(flat=True))

    assert (found.verdict, found.evidence, found.algorithm) == (Verdict.MATCH, Evidence.FLAT_DIGEST, "sha256")


def test_a_manifest_without_sparse_digests_is_compared_by_its_flat_one(node: Node, image: Path) -> None:
    path = convert(image, node.path_of(node.publish(image, algorithms=["sha512"])))

    assert node.check(path).algorithm == "sha512"
    _flip(path, 7)
    assert node.check(path).verdict is Verdict.CORRUPT


@pytest.mark.parametrize("offset", [0, 4095, 5 * MIB - 1, 7 * MIB, 9 * MIB + 99_999, SIZE - 1])
def test_a_flipped_bit_is_found_where_it_is(node: Node, converted: Path, offset: int) -> None:
    _flip(converted, offset)

    found = node.check(converted)

    assert (found.verdict, found.evidence) == (Verdict.CORRUPT, Evidence.BLOCK_MAP)
    assert len(found.differs) == 1
    start, length = found.differs[0]
    assert start <= offset < start + length
    assert length <= 4 * MIB
    in_data = any(first <= offset < first + size for first, size in DATA)
    assert in_data or length == 4096
    assert f"{length} bytes in 1 range" in found.reason
    assert "%" in found.reason


def test_neighbouring_differences_are_one_range(node: Node, converted: Path) -> None:
    with converted.open("r+b") as file:
        file.seek(12 * MIB)
        file.write(b"x" * 3 * MIB)

    assert node.check(converted).differs == ((12 * MIB, 3 * MIB),)


def test_a_file_that_was_cut_is_corrupt(node: Node, converted: Path) -> None:
    os.truncate(converted, 10 * MIB)

    found = node.check(converted)

    assert found.verdict is Verdict.CORRUPT
    assert found.differs == ((10 * MIB, SIZE - 10 * MIB),)
    assert "it is too short" in found.reason


def test_a_file_that_was_cut_within_data_differs_from_there_on(node: Node, converted: Path) -> None:
    os.truncate(converted, 9 * MIB + 5000)

    ((start, length),) = node.check(converted).differs

    assert start == 9 * MIB
    assert start + length == SIZE


def test_another_images_disk_is_corrupt(node: Node, converted: Path, tmp_path: Path) -> None:
    shutil.copyfile(make_disk(tmp_path / "other", seed=2), converted)

    found = node.check(converted)

    assert found.verdict is Verdict.CORRUPT
    assert _differing(found) == sum(-(-length // 4096) * 4096 for _, length in DATA)


def test_an_empty_file_is_corrupt(node: Node, converted: Path) -> None:
    os.truncate(converted, 0)

    assert node.check(converted).differs == ((0, SIZE),)


def test_without_a_block_map_it_is_corrupt_all_the_same(node: Node, image: Path) -> None:
    path = convert(image, node.path_of(node.publish(image, block_map_ranges=0)))
    _flip(path, 5)

    found = node.check(path)

    assert (found.verdict, found.evidence, found.differs) == (Verdict.CORRUPT, Evidence.SPARSE_DIGEST, ())
    assert "no block map" in found.reason


def test_a_file_that_nova_grew_matches_extended(node: Node, converted: Path) -> None:
    os.truncate(converted, SIZE + 10 * MIB)

    found = node.check(converted)

    assert (found.verdict, found.differs) == (Verdict.MATCH_EXTENDED, ())
    assert f"{10 * MIB} bytes of zeros" in found.reason


@pytest.mark.parametrize(("suffix", "verdict"), [("", Verdict.CORRUPT), ("_1", Verdict.RESIZED)])
def test_data_behind_the_end_of_the_disk(node: Node, converted: Path, suffix: str, verdict: Verdict) -> None:
    path = converted.with_name(converted.name + suffix)
    converted.rename(path)
    os.truncate(path, SIZE + 10 * MIB)
    with path.open("r+b") as file:
        file.seek(SIZE + 3 * MIB)
        file.write(b"a backup of the partition table")

    found = node.check(path)

    assert (found.verdict, found.differs) == (verdict, ((SIZE + 3 * MIB, 4096),))
    assert "after its end" in found.reason


def test_a_grown_copy_whose_file_system_was_resized_says_where_it_differs(node: Node, converted: Path) -> None:
    path = converted.with_name(converted.name + "_1")
    converted.rename(path)
    os.truncate(path, SIZE + 10 * MIB)
    _flip(path, 1024)

    found = node.check(path)

    assert found.verdict is Verdict.RESIZED
    assert found.differs[0][0] == 0


def test_a_grown_copy_that_was_cut_is_corrupt(node: Node, converted: Path) -> None:
    path = converted.with_name(converted.name + "_1")
    converted.rename(path)
    os.truncate(path, SIZE - 512)

    assert node.check(path).verdict is Verdict.CORRUPT


@pytest.mark.parametrize("compressed", [True, False])
def test_an_image_that_nobody_converted(node: Node, tmp_path: Path, qemu_img: Path, compressed: bool) -> None:
    image = make_image(tmp_path, compressed=compressed)
    path = node.path_of(node.publish(image))
    shutil.copyfile(image, path)

    found = node.check(path)

    assert (found.verdict, found.evidence) == (Verdict.MATCH_UNCONVERTED, Evidence.FLAT_DIGEST)
    _flip(path, path.stat().st_size - 1000)
    assert node.check(path).verdict is Verdict.CORRUPT


def test_a_raw_image_is_a_match_and_not_unconverted(node: Node, tmp_path: Path) -> None:
    image = make_disk(tmp_path / "image")
    path = node.path_of(node.publish(image, "raw"))
    shutil.copyfile(image, path)

    assert node.check(path).verdict is Verdict.MATCH
    _flip(path, 1)
    assert node.check(path).verdict is Verdict.CORRUPT


def test_a_file_that_is_written_to_meanwhile_is_not_called_corrupt(node: Node, converted: Path) -> None:
    _flip(converted, 100)

    def write(done: int, total: int) -> None:
        os.utime(converted, ns=(1, done + 1))

    (found,) = Scan(node.manifests, Verifier(node.manifests, Settings(), write)).verdicts([classify(converted)])

    assert found.verdict is Verdict.CHANGED_WHILE_READING


def test_a_file_that_is_cut_meanwhile_is_not_called_corrupt(node: Node, converted: Path) -> None:
    def cut(done: int, total: int) -> None:
        os.truncate(converted, 5)

    (found,) = Scan(node.manifests, Verifier(node.manifests, Settings(), cut)).verdicts([classify(converted)])

    assert found.verdict is Verdict.CHANGED_WHILE_READING


def test_what_cannot_be_compared(node: Node, image: Path, tmp_path: Path) -> None:
    image_id = node.publish(image)
    path = convert(image, node.path_of(image_id))
    pending = "00000000-0000-0000-0000-00000000000a"
    observe(node.database, observation(image_id=pending))
    node.path_of(pending).touch()
    never = node.base / cache_name_of("never seen")
    never.touch()
    deleted = observation(
        image_id=image_id, status="deleted", deleted=True, updated_at=datetime(2027, 1, 1, tzinfo=UTC)
    )
    observe(node.database, deleted)

    assert node.check(node.path_of(pending)).verdict is Verdict.PENDING
    assert node.check(never).verdict is Verdict.UNKNOWN
    found = node.check(path)
    assert found.verdict is Verdict.MATCH
    assert found.reason.endswith("the image was deleted in Glance")


@pytest.mark.parametrize("name", ["ephemeral_1_default", "swap_512", "0" * 40 + ".part", "x.converted"])
def test_what_is_no_image_is_not_looked_at(node: Node, name: str) -> None:
    assert node.check(node.base / name).verdict is Verdict.NOT_APPLICABLE


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_fifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
        (_loop, "symbolic links"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_cannot_be_read_is_said(node: Node, image: Path, make: Callable[[Path], None], why: str) -> None:
    path = node.path_of(node.publish(image))
    make(path)

    found = node.check(path)

    assert found.verdict is Verdict.FAILED
    assert why in found.reason


def test_a_file_of_another_name_is_found_by_its_digest(node: Node, converted: Path) -> None:
    path = converted.rename(node.base / "what is this")

    assert node.check(path).verdict is Verdict.UNKNOWN
    found = node.check(path, Settings(identify=True))
    assert (found.verdict, found.algorithm) == (Verdict.MATCH, "fsverity-sha256")
    assert found.image_id is not None
    _flip(path, 0)
    assert node.check(path, Settings(identify=True)).verdict is Verdict.UNKNOWN


def test_a_file_of_exbibytes_is_not_read_for_years(node: Node, converted: Path) -> None:
    # Of the usual file systems, only the one in memory has files so large.
    with NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(7 << 60)
        found = node.check(Path(file.name), Settings(identify=True))

    assert found.verdict is Verdict.FAILED
    assert "more than the" in found.reason


def test_a_block_map_of_another_disk_is_not_believed(node: Node, converted: Path) -> None:
    class Mixed(ApiManifests):
        def block_map(self, expected: Expected) -> BlockMap | None:
            return BlockMap(2**63 - 1, array("Q"), array("Q"), b"")

    _flip(converted, 7)
    manifests = Mixed(ApiClient(node.api.url))
    verifier = Verifier(manifests, Settings(), lambda done, total: None)
    (found,) = Scan(manifests, verifier).verdicts([classify(converted)])

    assert (found.verdict, found.differs) == (Verdict.CORRUPT, ())
    assert "of another size" in found.reason


def _resident(path: Path) -> int:
    """Bytes of a file that are in the page cache."""
    done = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", path], check=True, capture_output=True, text=True
    )
    return int(done.stdout or 0)


def test_pages_go_as_they_came(node: Node, converted: Path) -> None:
    with converted.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = _resident(converted)

    assert node.check(converted).verdict is Verdict.MATCH
    assert _resident(converted) <= before + MIB  # A page that the kernel was just moving stays.

    converted.read_bytes()
    cached = _resident(converted)
    assert cached > sum(length for _, length in DATA)
    assert node.check(converted).verdict is Verdict.MATCH
    assert _resident(converted) >= cached // 2  # The kernel may need some meanwhile.


def test_what_is_not_sealed_says_why_not(node: Node, converted: Path) -> None:
    found = node.check(converted, Settings(seal=True))

    assert found.verdict is Verdict.MATCH
    assert "not sealed: " in found.reason or "sealed by fs-verity now" in found.reason


def test_a_file_that_is_written_to_before_it_is_sealed_is_no_match(
    node: Node, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Verifier.digest_of
    digests: list[str] = []

    def written_to_before_the_second(verifier: Verifier, source: Source, algorithm: str) -> str:
        if digests:
            _flip(converted, 0)
        digests.append(read(verifier, source, algorithm))
        return digests[-1]

    monkeypatch.setattr(Verifier, "digest_of", written_to_before_the_second)
    monkeypatch.setattr(fsverity, "seal", lambda descriptor: None)
    monkeypatch.setattr(fsverity, "measure", lambda descriptor: digests[-1] if len(digests) > 1 else None)

    assert node.check(converted, Settings(seal=True)).verdict is Verdict.CHANGED_WHILE_READING


def test_a_disk_of_many_images_is_found_by_its_digest(
    node: Node, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_manifests, "_LARGEST_ANSWER", 0)
    monkeypatch.setattr(api_manifests, "_PER_KEY", 3000)
    for _ in range(4):
        node.publish(image)

    assert node.check(convert(image, tmp_path / "disk.raw"), Settings(identify=True)).verdict is Verdict.MATCH
