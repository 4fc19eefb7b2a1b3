"""What people do with the pages: by keyboard alone, without JavaScript, with names that are meant to do harm."""

import pytest
from selenium.webdriver.common.keys import Keys

from manifest_service.errors import ImageRefused, RefusalCode
from manifest_service.manifests.database import Database
from manifest_service.processing import queue
from tests.api.client import Client
from tests.api.test_verifications import report, verification
from tests.browser.chromium import Chromium
from tests.builders import IMAGE_ID, SHA256, claimed, finish, observation, observe

OTHER = "8c8f5ad0-1a4d-43c1-9d0d-7b8b4fa6e7a2"
HOSTILE_NAMES = (
    "<script>document.title='run'</script>",
    '"><img src=x onerror="document.title=\'run\'">',
    "{{ 7 * 7 }} {% raw %}",
    "javascript:document.title='run'",
    "\u202egnp.2wocq\u2066",
    "a\u200bb\u00adc\ufeff",
    "two\nlines\tand\x1b[31m",
    "\U0001f600" * 255,
    "W" * 255,
    "  ",
    "",
)


def test_somebody_without_a_mouse_gets_to_a_digest(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation(), observation(image_id=OTHER, name="q12"))
    finish(local, claimed(local))
    browser.driver.get(f"{local_api.url}/fleet")

    browser.tab_to(".skip")
    browser.press(Keys.ENTER)
    assert browser.driver.switch_to.active_element == browser.find("main")
    browser.driver.get(f"{local_api.url}/fleet")
    browser.tab_to("#q")
    browser.press("q1", Keys.ENTER)
    browser.wait_for_text(SHA256)
    browser.tab_to("button[aria-label='Copy sha256']")
    browser.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    # The button says so for two seconds, which may pass before it is looked at.
    browser.driver.execute_script("window.setTimeout = () => 0")
    browser.press(Keys.ENTER)

    browser.wait_for_text("sha256 copied", "#said")
    assert browser.text("button[aria-label='Copy sha256']") == "Copied"
    assert browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == SHA256


def test_a_digest_is_copied_where_there_is_no_clipboard(browser: Chromium, local_api: Client, local: Database) -> None:
    observe(local, observation())
    finish(local, claimed(local))
    browser.driver.get(f"{local_api.url}/images/{IMAGE_ID}")
    browser.driver.execute_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")

    browser.find("button[aria-label='Copy sha256']").click()
    browser.wait_for_text("sha256 copied", "#said")
    browser.find("#q").send_keys(Keys.CONTROL, "v")

    assert browser.find("#q").get_property("value") == SHA256


def test_everything_but_the_dropped_file_works_without_scripts(
    browser: Chromium, local_api: Client, local: Database
) -> None:
    observe(local, observation(), observation(image_id=OTHER, name="waits"))
    finish(local, claimed(local))
    report(local_api, verification(verdict="corrupt"))
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    browser.driver.get(f"{local_api.url}/images")

    assert "With JavaScript, this page also tells" in browser.text()
    assert not browser.find("#file").is_displayed()
    browser.find("[data-live-note] a").click()
    browser.find("#q").send_keys(SHA256[:40], Keys.ENTER)
    browser.wait_for_text("No image is known")
    browser.find("#q").clear()
    browser.find("#q").send_keys(SHA256, Keys.ENTER)
    browser.wait_for_text("Ready: revision 1.")
    assert browser.all(".copy") == []
    browser.find("nav a[href='/fleet']").click()
    browser.wait_for_text("Corrupt files")
    browser.find(".files a").click()
    browser.wait_for_text("Files in the fleet")


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_name_is_only_ever_text(browser: Chromium, local_api: Client, local: Database, name: str) -> None:
    observe(local, observation(name=name))
    error = ImageRefused(RefusalCode.BACKING_FILE, f"the disk builds on {name}")
    task = claimed(local)
    local.transaction(lambda session: queue.finish_without(session, task, error))
    report(local_api, verification(file=f"/{name}", reason=f"it is {name}", verdict="corrupt"))

    for path in ("/images", f"/images/{IMAGE_ID}", "/fleet"):
        browser.driver.get(local_api.url + path)

        assert browser.driver.title.endswith(" · manifest-service")
        assert browser.all("main script, main img, main [onerror]") == []
        assert browser.overflow() <= 0
        link = browser.find(f"main a[href='/images/{IMAGE_ID}'], article h1")
        assert link.text.strip()
        assert link.text.isprintable()
        assert link.find_elements("css selector", "bdi")


def test_a_search_comes_back_as_text(browser: Chromium, local_api: Client) -> None:
    browser.driver.get(f"{local_api.url}/images")

    browser.find("#q").send_keys("\"><script>document.title='run'</script>", Keys.ENTER)
    browser.wait_for_text("Nothing is known of this")

    assert browser.driver.title == "Nothing found · manifest-service"
    assert browser.find("#q").get_property("value") == "\"><script>document.title='run'</script>"


def test_the_policy_keeps_foreign_scripts_and_styles_out(browser: Chromium, local_api: Client) -> None:
    browser.driver.get(f"{local_api.url}/images")

    browser.driver.execute_script(
        """
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        document.body.setAttribute("style", "display: none");
        const foreign = new Image();
        foreign.src = "http://192.0.2.1/";
        """
    )

    browser.wait_for_text("Images")
    assert browser.driver.title == "Images · manifest-service"
    assert browser.find("h1").is_displayed()
    said = browser.take_console()
    assert len(said) == 3
    assert all("Content Security Policy" in line for line in said)
    # The foreign image is among the requests that were blocked, and not sent.
    assert any("192.0.2.1" in line and "has been blocked" in line for line in said), said
    browser.take_requests()


def test_a_page_that_is_not_there_is_a_page(browser: Chromium, local_api: Client) -> None:
    browser.driver.get(f"{local_api.url}/images/nowhere")

    assert "Not Found" in browser.text("h1")
    assert all("404" in line for line in browser.take_console())
