"""Every page, light and dark, wide and narrow: nothing for axe to find, nothing that sticks out."""

import pytest

from manifest_service.errors import ImageRefused, RefusalCode
from manifest_service.manifests.database import Database
from manifest_service.processing import queue
from tests.api.client import Client
from tests.api.test_verifications import report, verification
from tests.browser.chromium import NARROW, WIDE, Chromium
from tests.builders import IMAGE_ID, claimed, computed, finish, observation, observe

OTHER = "8c8f5ad0-1a4d-43c1-9d0d-7b8b4fa6e7a2"
REFUSED = "0bb0b6fc-5ad7-4bd4-a4a0-2f1c8ac0c1de"
UNKNOWN = "4d1a43c1-9d0d-4b8b-8fa6-e7a28c8f5ad0"
HOSTILE = "\u202e<script>alert('x')</script>\u200b\"&" + "\U0001f600" * 60
PATHS = (
    "/images",
    "/images?status=refused",
    "/images?status=deleted",
    "/images?q=q",
    "/images?q=nothing",
    f"/images/{IMAGE_ID}",
    f"/images/{OTHER}",
    f"/images/{REFUSED}",
    f"/images/{UNKNOWN}",
    "/fleet",
    "/fleet/files",
    "/fleet/files?verdict=corrupt",
    "/fleet/files?node=none",
    "/images/no-image",
)


@pytest.fixture
def filled(local: Database, local_api: Client) -> Client:
    """An API with something of everything."""
    digests = {"sha256": "5f" * 32, "sha512": "c1" * 64}
    observe(local, observation(owner="6f70656e737461636b"), observation(image_id=REFUSED, name=HOSTILE))
    finish(local, claimed(local), computed(digests=digests, warnings=("the image has internal snapshots",)))
    error = ImageRefused(RefusalCode.BACKING_FILE, f"the disk builds on another file, {HOSTILE}")
    task = claimed(local)
    local.transaction(lambda session: queue.finish_without(session, task, error))
    observe(
        local, observation(size=1, checksums={"md5": "0" * 32}, updated_at=observation().updated_at.replace(hour=13))
    )
    observe(local, observation(image_id=OTHER, name="q2"))
    ranges = [[number << 22, 4096] for number in range(30)]
    report(local_api, verification(verdict="corrupt", differs=ranges), verification(file="/other"))
    report(local_api, verification(verdict="unknown", image_id=None, file=f"/{HOSTILE}"), node="n" * 200)
    return local_api


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing(browser: Chromium, filled: Client, size: tuple[int, int], *, dark: bool) -> None:
    browser.look_like(size, dark=dark)
    for path in PATHS:
        browser.driver.get(filled.url + path)
        for details in browser.all("details"):
            details.click()

        assert browser.violations() == [], path
        assert browser.overflow() <= 0, path
    # What went wrong on purpose.
    assert all("404" in line or "400" in line for line in browser.take_console())


def test_the_answer_about_a_file_is_accessible_too(browser: Chromium, filled: Client) -> None:
    for dark in (False, True):
        browser.look_like(NARROW, dark=dark)
        browser.driver.get(f"{filled.url}/images")
        browser.find("#file").send_keys(__file__)
        browser.wait_for_text("No image is known whose disk has the bytes of")

        assert browser.violations() == []
        assert browser.overflow() <= 0


def test_a_page_at_200_percent_can_be_used(browser: Chromium, filled: Client) -> None:
    browser.command(
        "Emulation.setDeviceMetricsOverride", width=WIDE[0] // 2, height=WIDE[1] // 2, deviceScaleFactor=2, mobile=False
    )
    for path in ("/images", f"/images/{IMAGE_ID}", "/fleet"):
        browser.driver.get(filled.url + path)

        assert browser.overflow() <= 0, path
        assert browser.find("#q").is_displayed()
