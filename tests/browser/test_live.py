"""Images that are under way move on the page without anybody loading it anew."""

from datetime import timedelta

import pytest

from manifest_service.manifests.database import Database
from manifest_service.manifests.values import Progress, Task
from manifest_service.processing import queue
from tests.api.client import Client
from tests.browser.chromium import Chromium
from tests.builders import IMAGE_ID, SHA256, claimed, finish, observation, observe

OTHER = "8c8f5ad0-1a4d-43c1-9d0d-7b8b4fa6e7a2"
ROW = f"#image-{IMAGE_ID}"
HOSTILE = "<img src=x onerror=alert(1)>"


def advance(database: Database, task: Task, done: int) -> None:
    database.transaction(lambda session: queue.renew(session, task, timedelta(minutes=1), Progress(done, 1000)))


def mark(browser: Chromium) -> None:
    """Leave something on the page that a reload would lose."""
    browser.driver.execute_script("window.isTheSamePage = true")


def is_marked(browser: Chromium) -> bool:
    return bool(browser.driver.execute_script("return window.isTheSamePage === true"))


def test_the_list_follows_an_image_until_it_is_ready(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation(name=HOSTILE), observation(image_id=OTHER, name="waits"))
    browser.driver.get(f"{local_api.url}/images")
    mark(browser)
    browser.wait_for_text("pending", ROW)

    task = claimed(local)
    browser.wait_for_text("computing", ROW)
    advance(local, task, 250)
    browser.wait_for_text("25 %", ROW)
    advance(local, task, 999)
    browser.wait_for_text("99 %", ROW)
    finish(local, task)

    browser.wait_for_text("ready", ROW)
    browser.wait_for_text(f"sha256:{SHA256[:12]}", ROW)
    browser.wait_for_text(f"{HOSTILE}: ready", "#said")
    assert browser.all(f"{ROW} progress") == []
    assert is_marked(browser)
    assert "pending" in browser.text(f"#image-{OTHER}")


def test_a_page_of_an_image_follows_it(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation())
    browser.driver.get(f"{local_api.url}/images/{IMAGE_ID}")
    mark(browser)
    assert "Waiting for a worker" in browser.text()

    task = claimed(local)
    browser.wait_for_text("Being computed")
    advance(local, task, 500)
    browser.wait_for_text("50 %")
    finish(local, task)

    browser.wait_for_text(SHA256)
    browser.wait_for_text("Ready: revision 1.")
    assert browser.find("button[aria-label='Copy sha256']").is_displayed()
    assert is_marked(browser)


def test_an_image_that_leaves_a_narrowed_list_says_so(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation())
    browser.driver.get(f"{local_api.url}/images?status=pending")

    task = claimed(local)
    browser.wait_for_text("computing", ROW)
    finish(local, task)

    browser.wait_for_text("ready", ROW)


def test_a_service_that_is_away_is_asked_again(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation())
    browser.driver.get(f"{local_api.url}/images")
    browser.command("Network.enable")
    browser.command("Network.setBlockedURLs", urls=["*/v1/lookups"])
    try:
        browser.wait_for_text("The service does not answer now; it is asked again.")
    finally:
        browser.command("Network.setBlockedURLs", urls=[])
    finish(local, claimed(local))

    browser.wait_for_text("ready", ROW)
    assert all("lookups" in line for line in browser.take_console())


@pytest.mark.parametrize("path", ["/images", f"/images/{IMAGE_ID}", "/fleet"])
def test_nothing_is_asked_where_nothing_is_under_way(
    browser: Chromium, local_api: Client, local: Database, path: str
) -> None:
    observe(local, observation())
    finish(local, claimed(local))

    browser.driver.get(local_api.url + path)

    waits = browser.driver.execute_async_script("setTimeout(arguments[0], 2500, 'over')")
    assert waits == "over"
    assert [url for url in browser.take_requests() if "/v1/" in url] == []
