"""Sealing by a real kernel: Debian's, in a virtual machine, for the one of this machine may have no fs-verity.

`tests/node/sealing.py` runs in there, once; each test looks at another part of what it found.
"""

import errno
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from manifest_service.node.base_directory import cache_name_of
from tests.node.images import MIB
from tests.node.sealing import Files
from tests.servers import guest

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

IMAGE_ID = "245a8fa1-0861-4783-9ffc-4e4b20f3fe80"
SIZE = 3 * MIB + 512
"""Small, for the guest hashes slowly; and no multiple of fs-verity's block."""
DATA = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one image's files."""
    folder = tmp_path_factory.mktemp("base")
    good = folder / Files.GOOD
    with good.open("wb") as file:
        file.write(bytes(range(1, 251)) * (DATA // 250))
        file.truncate(SIZE)
    shutil.copy(good, folder / Files.HELD)
    damaged = Path(shutil.copy(good, folder / Files.DAMAGED))
    with damaged.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(b"x")
    return folder


@pytest.fixture(scope="module")
def digest(folder: Path, fsverity: Path) -> str:
    """What the real tool says that the kernel is to come to."""
    done = subprocess.run(
        [fsverity, "digest", "--compact", folder / Files.GOOD], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def found(folder: Path, digest: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of it in the guest."""
    manifest = {
        "image_id": IMAGE_ID,
        "cache_name": cache_name_of(IMAGE_ID),
        "status": "ready",
        "virtual_size": SIZE,
        "digests": {
            "fsverity-sha256": digest,
            "sha256": hashlib.sha256((folder / Files.GOOD).read_bytes()).hexdigest(),
        },
    }
    (folder / Files.BUNDLE).write_text(json.dumps(manifest) + "\n")
    printed = guest.run(["-m", "tests.node.sealing", folder, IMAGE_ID], folder, tmp_path_factory.mktemp("guest"))
    results: dict[str, Any] = json.loads(printed)
    return results


def test_what_matches_is_sealed(found: dict[str, Any], digest: str) -> None:
    verdict = found["first"]["verdicts"][Files.GOOD]
    assert (verdict["verdict"], verdict["evidence"]) == ("match", "sparse-digest")
    assert "it is sealed by fs-verity now" in verdict["reason"]
    assert found["measured"][Files.GOOD] == digest
    assert found["content"] == 0


def test_what_is_sealed_matches_without_being_read(found: dict[str, Any]) -> None:
    verdict = found["again"]["verdicts"][Files.GOOD]
    assert (found["again"]["status"], verdict["verdict"], verdict["evidence"]) == (0, "match", "fs-verity")
    # The file system's own blocks have to come from the disk: where the file lies, and what fs-verity holds it to.
    assert found["again"]["bytes_from_disk"] < DATA / 2
    assert found["first"]["bytes_from_disk"] > DATA


def test_what_is_sealed_cannot_be_written_to(found: dict[str, Any]) -> None:
    assert (found["writing"], found["truncating"]) == (errno.EPERM, errno.EPERM)


def test_what_the_disk_changes_in_a_sealed_file_is_not_given_to_who_reads_it(found: dict[str, Any]) -> None:
    assert found["reading_what_the_disk_changed"] == errno.EIO


def test_a_flat_hash_reads_what_is_sealed(found: dict[str, Any]) -> None:
    """And so finds what the disk changed, which the kernel's measurement alone does not."""
    assert found["flat"]["verdicts"][Files.GOOD]["verdict"] == "failed"
    assert "input/output error" in found["flat"]["verdicts"][Files.GOOD]["reason"]


def test_what_was_sealed_otherwise_matches_all_the_same(found: dict[str, Any]) -> None:
    verdict = found["first"]["verdicts"][Files.SALTED]
    assert (verdict["verdict"], verdict["evidence"]) == ("match", "sparse-digest")
    assert verdict["reason"].endswith("not sealed: it is sealed already, by another hash, block size or salt")


def test_what_is_sealed_can_be_deleted(found: dict[str, Any]) -> None:
    assert found["deleting"] == 0


def test_what_does_not_match_is_not_sealed(found: dict[str, Any]) -> None:
    assert found["first"]["status"] == 4
    assert found["first"]["verdicts"][Files.DAMAGED]["verdict"] == "corrupt"
    assert found["measured"][Files.DAMAGED] is None


def test_what_somebody_holds_open_for_writing_is_not_sealed_before_they_let_go(
    found: dict[str, Any], digest: str
) -> None:
    verdict = found["first"]["verdicts"][Files.HELD]
    assert verdict["verdict"] == "match"
    assert verdict["reason"].endswith("not sealed: somebody has it open for writing")
    assert found["measured"][Files.HELD] is None

    verdict = found["released"]["verdicts"][Files.HELD]
    assert verdict["verdict"] == "match"
    assert "it is sealed by fs-verity now" in verdict["reason"]


def test_a_file_system_that_cannot_seal_is_named_as_the_reason(found: dict[str, Any]) -> None:
    verdict = found["first"]["verdicts"]["elsewhere"]
    assert verdict["verdict"] == "match"
    assert "its file system has no fs-verity" in verdict["reason"]
    assert found["measured"]["elsewhere"] is None
