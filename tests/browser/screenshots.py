"""Photographs the pages for docs/web: `python -m tests.browser.screenshots [FOLDER]`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import NARROW, WIDE, Chromium
from tests.browser.cloud import SmallCloud, small_cloud

FOLDER = Path(__file__).parents[2] / "docs" / "web"


def main(folder: Path) -> None:
    """Take all pictures anew, of a small cloud that the real service serves."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="manifest-service-") as work:
        profile = Path(work) / "profile"
        with small_cloud(Path(work)) as cloud, Chromium(profile) as browser:
            take(cloud, browser, folder)


def take(cloud: SmallCloud, browser: Chromium, folder: Path) -> None:
    browser.begin()
    for name, path, size, dark in (
        ("images", "/images", WIDE, False),
        ("image", f"/images/{cloud.good}", (1100, 1400), False),
        ("refused", f"/images/{cloud.refused}", WIDE, False),
        ("fleet", "/fleet", WIDE, False),
        ("narrow", "/images?status=ready", (NARROW[0], 800), True),
    ):
        browser.look_like(size, dark=dark)
        browser.driver.get(cloud.url + path)
        browser.screenshot(folder / f"{name}.png")
    browser.look_like(WIDE, dark=True)
    browser.driver.get(f"{cloud.url}/images")
    browser.find("#file").send_keys(str(cloud.disk))
    browser.wait_for_text("is the disk of image")
    browser.screenshot(folder / "file.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
