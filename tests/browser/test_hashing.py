"""A file that somebody chooses or drops: hashed in the browser, and nothing of it sent."""

import hashlib
import random
from pathlib import Path

import pytest

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.browser.chromium import Chromium
from tests.builders import IMAGE_ID, claimed, computed, current, finish, observation, observe

DISK = random.Random(5).randbytes(9_000_001)
RESULT = "[data-hash-result]"
GIB = 1 << 30

_HASH = """
const [lengths, done] = arguments;
import("/pages/sha256.js").then(({ Sha256 }) => {
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
  const sha256 = new Sha256();
  let at = 0;
  for (const length of lengths) sha256.update(bytes.subarray(at, (at += length)));
  done(sha256.finish());
}, (error) => done(`${error}`));
"""
_HASH_GIBIBYTES = """
const [count, done] = arguments;
import("/pages/sha256.js").then(({ Sha256 }) => {
  const sha256 = new Sha256();
  const piece = new Uint8Array(1 << 24);
  for (let i = 0; i < count * 64; i++) sha256.update(piece);
  sha256.update(piece.subarray(0, 5));
  done(sha256.finish());
}, (error) => done(`${error}`));
"""
_DROP = """
const [names, text] = arguments;
const dropped = new DataTransfer();
for (const name of names) dropped.items.add(new File([text], name));
const event = new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true });
document.querySelector("h1").dispatchEvent(event);
return event.defaultPrevented;
"""


@pytest.fixture
def images(browser: Chromium, local_api: Client, local: Database) -> Chromium:
    """The list of images, with one whose disk is DISK."""
    observe(local, observation())
    found = computed(virtual_size=len(DISK), digests={"sha256": hashlib.sha256(DISK).hexdigest()})
    finish(local, claimed(local), found)
    browser.driver.get(f"{local_api.url}/images")
    return browser


def choose(images: Chromium, path: Path) -> None:
    images.find("#file").send_keys(str(path))


def cache_name(database: Database) -> str:
    record = current(database)
    assert record is not None
    return record.cache_name


def test_a_digest_is_that_of_hashlib_at_every_length(images: Chromium) -> None:
    chance = random.Random(1)
    cases = [[length] for length in (*range(0, 131), 4095, 4096, 4097, 100_000)]
    cases += [[chance.randrange(200) for _ in range(chance.randrange(1, 9))] for _ in range(100)]

    for lengths in cases:
        expected = hashlib.sha256(bytes((i * 7 + (i >> 8)) & 255 for i in range(sum(lengths)))).hexdigest()
        assert images.driver.execute_async_script(_HASH, lengths) == expected, lengths


@pytest.mark.slow
def test_a_digest_is_right_where_the_bits_are_more_than_32_bits_count(images: Chromium) -> None:
    expected = hashlib.sha256()
    for _ in range(64):
        expected.update(bytes(1 << 24))
    expected.update(bytes(5))

    assert images.driver.execute_async_script(_HASH_GIBIBYTES, 1) == expected.hexdigest()


def test_a_file_that_is_chosen_is_found(images: Chromium, tmp_path: Path) -> None:
    disk = tmp_path / "disk of mine"
    disk.write_bytes(DISK)

    choose(images, disk)

    images.wait_for_text("disk of mine is the disk of image q1.", RESULT)
    assert images.all(f"{RESULT} a[href='/images/{IMAGE_ID}']")
    assert hashlib.sha256(DISK).hexdigest() in images.text(RESULT)
    assert not images.find("[data-hash-progress]").is_displayed()


def test_a_file_that_is_dropped_anywhere_is_looked_up(images: Chromium) -> None:
    assert images.driver.execute_script(_DROP, ["<b>\u202e</b>", "second"], "x")

    images.wait_for_text("No image is known whose disk has the bytes of <b>\\u202e</b>.", RESULT)
    assert "Only the first file was read." in images.text(RESULT)
    assert hashlib.sha256(b"x").hexdigest() in images.text(RESULT)
    assert "manifest-service verify FILE" in images.text(RESULT)


def test_nothing_of_a_file_is_sent(images: Chromium, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(DISK)
    images.command("Network.enable")
    images.driver.get_log("performance")  # type: ignore[no-untyped-call]

    choose(images, disk)
    images.wait_for_text("is the disk of image", RESULT)

    entries = images.driver.get_log("performance")  # type: ignore[no-untyped-call]
    sent = [entry["message"] for entry in entries if '"Network.requestWillBeSent"' in entry["message"]]
    assert sum(map(len, sent)) < 20_000
    assert [message for message in sent if '"method":"POST"' in message and "/v1/lookups" not in message] == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (b"\x01", "It is not what it should be. By its name it is the disk of image q1, and its bytes are others."),
        (b"QFI\xfb", "it is still a qcow2 file: Nova has not converted it."),
        (None, "it is larger than that image's disk: Nova may have grown it."),
    ],
    ids=["changed", "unconverted", "grown"],
)
def test_a_file_that_is_not_what_its_name_says(
    images: Chromium, local: Database, tmp_path: Path, change: bytes | None, sentence: str
) -> None:
    file = tmp_path / cache_name(local)
    file.write_bytes(DISK + b"\0" if change is None else change + DISK[len(change) :])

    choose(images, file)

    images.wait_for_text(sentence, RESULT)


def test_a_qcow2_of_another_name_is_told_apart(images: Chromium, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.write_bytes(b"QFI\xfb and so on")

    choose(images, image)

    images.wait_for_text("It is a qcow2 file, as Glance stores them, and no disk", RESULT)


def test_an_empty_file_has_a_digest_too(images: Chromium, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    choose(images, tmp_path / "empty")

    images.wait_for_text(hashlib.sha256().hexdigest(), RESULT)


def test_hashing_shows_how_far_it_is_and_can_be_cancelled(images: Chromium, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(20 * GIB)

    choose(images, large)
    images.wait_for_text("of 20 GiB", "[data-hash-progress]")
    images.find("[data-cancel]").click()

    images.wait_for_text("Cancelled.", RESULT)
    assert not images.find("[data-cancel]").is_displayed()
    assert images.find(RESULT) == images.driver.switch_to.active_element


def test_another_file_takes_the_place_of_the_one_before(images: Chromium, tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    with large.open("wb") as file:
        file.truncate(20 * GIB)
    small.write_bytes(DISK)

    choose(images, large)
    images.wait_for_text("of 20 GiB", "[data-hash-progress]")
    choose(images, small)

    images.wait_for_text("small is the disk of image q1.", RESULT)


def test_a_file_that_shrinks_meanwhile_cannot_be_read(images: Chromium, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(20 * GIB)

    choose(images, large)
    images.wait_for_text("of 20 GiB", "[data-hash-progress]")
    large.write_bytes(b"")

    images.wait_for_text("The file cannot be read", RESULT)


def test_a_service_that_does_not_answer_is_no_verdict(images: Chromium, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    images.command("Network.enable")
    images.command("Network.setBlockedURLs", urls=["*/v1/lookups"])
    try:
        choose(images, tmp_path / "file")

        images.wait_for_text("The file was hashed, but the service does not answer.", RESULT)
    finally:
        images.command("Network.setBlockedURLs", urls=[])
    assert all("lookups" in line for line in images.take_console())
