"""The project on every hand-made image: refused with the right code, or read rightly."""

import pytest

from manifest_service.digests.engine import compute
from manifest_service.disks.opening import open_disk
from manifest_service.errors import ImageRefused
from tests.disks.catalogue import CASES
from tests.disks.catalogue.case import PLAIN, Case
from tests.disks.qcow2_writer import extension
from tests.disks.sources import BytesSource, sha256, verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_or_read_rightly(case: Case) -> None:
    found = verdict(BytesSource(case.image))
    if case.refused:
        assert found == case.refused
    elif case.disk is not None:
        assert found == sha256(case.disk)
    else:
        assert len(found) == 64


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=lambda case: case.name)
def test_says_why_in_a_sentence_without_the_files_words(case: Case) -> None:
    source = BytesSource(case.image)
    with pytest.raises(ImageRefused) as caught:
        compute(open_disk(source, "qcow2"), source, ["sha256"])
    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()
    assert not {"passwd", "owned", "null-co", "base.raw"} & set(caught.value.reason.split())


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_tells_what_the_operator_should_know() -> None:
    image = PLAIN.with_fields(incompatible=3, size=PLAIN.size - 1, snapshots=2, snapshots_offset=1 << 40)
    warnings = " ".join(open_disk(BytesSource(image.write()), "qcow2").warnings)
    for word in ("corrupt", "dirty", "drops the last 511", "snapshots (2)"):
        assert word in warnings
    assert open_disk(BytesSource(PLAIN.but(extensions=extension(7, b"")).write()), "qcow2").warnings == ()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("plain", None),
        ("version 2", None),
        ("zero flag and offset past the end", None),
        ("all subclusters", None),
        ("reserved bits of an L1 entry", "Reserved"),
        ("L1 entry of reserved bits only", "Reserved"),
        ("reserved zero flag", "Reserved"),
        ("L2 table is the L1 table", "same place"),
        ("data is the L2 table itself", "same place"),
    ],
)
def test_tells_what_no_tool_writes_though_qemu_reads_it(name: str, word: str | None) -> None:
    (case,) = (case for case in CASES if case.name == name)
    source = BytesSource(case.image)
    warnings = compute(open_disk(source, "qcow2"), source, ["sha256"]).warnings
    told = [warning for warning in warnings if "qemu" in warning and "boot" not in warning]
    assert len(told) == (word is not None)
    assert word is None or word in told[0]
