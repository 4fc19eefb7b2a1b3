"""A headless Chromium of our own, driven by Debian's chromedriver: nothing is downloaded, and nobody is called home."""

import json
import os
import signal
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.servers import programs
from tests.servers.process import alive, descendants
from tests.servers.reaper import reaper
from tests.waiting import eventually

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WIDE, NARROW = (1100, 800), (320, 640)
"""Widths and heights in CSS pixels. 320 is what WCAG 1.4.10 asks for, and what 1280 become at a zoom of 400 %."""
_WAIT = 60.0


class Chromium:
    """One browser with one tab."""

    def __init__(self, folder: Path) -> None:
        """folder: for its profile; empty."""
        options = ChromeOptions()
        options.binary_location = str(programs.find("chromium", "chromium"))
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._service = Service(str(programs.find("chromedriver", "chromium-driver")))
        self.driver = Chrome(options, self._service)
        self.driver.set_script_timeout(120)
        reaper().watch(self._service.process.pid)
        self._axe = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and all its processes."""
        pid = self._service.process.pid
        family = descendants(pid)
        self.driver.quit()
        for child in family:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        eventually(lambda: not any(map(alive, family)))
        reaper().forget(pid)

    def begin(self) -> None:
        """Be as good as new for the next test: no page, no logs, nothing emulated."""
        self.driver.get("about:blank")
        self.look_like(WIDE, dark=False)
        self.command("Emulation.setScriptExecutionDisabled", value=False)
        self.take_console()
        self.take_requests()

    def command(self, name: str, **parameters: Any) -> Any:
        """Say something in the devtools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def look_like(self, size: tuple[int, int], *, dark: bool) -> None:
        """Have a window of this size, and a user who likes it light or dark."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        # Transitions would have a contrast that nobody has asked for measured halfway.
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[scheme, still])

    def find(self, selector: str) -> WebElement:
        """The first element that the CSS selector names; it must come to be there."""
        eventually(lambda: self.all(selector), timeout=_WAIT)
        return self.all(selector)[0]

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        """What can be read of an element now."""
        return self.find(selector).text

    def wait_for_text(self, text: str, selector: str = "main") -> None:
        """Wait until an element's text has this in it."""
        deadline = time.monotonic() + _WAIT
        while text not in (seen := self._text_now(selector)):
            assert time.monotonic() < deadline, f"{text!r} is not in {seen!r}"
            time.sleep(0.02)

    def _text_now(self, selector: str) -> str:
        found = self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        return str(found)

    def press(self, *keys: str) -> None:
        """Type into whatever has the focus, as somebody without a mouse does."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus; it must be one that can be seen to have it."""
        wanted = self.find(selector)
        for _ in range(60):
            if self.driver.switch_to.active_element == wanted:
                outline = wanted.value_of_css_property("outline-style")
                assert outline != "none", f"nobody sees that {selector} has the focus"
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab does not lead to {selector}")

    def violations(self) -> list[str]:
        """What axe finds wrong with the page as it is now: one sentence each."""
        self.driver.execute_script(self._axe)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(done, (error) => done({ error: `${error}` }))"
        )
        return [
            f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.driver.execute_script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def take_console(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def take_requests(self) -> list[str]:
        """The addresses that pages have asked for since the last call."""
        log = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        events = [json.loads(entry["message"])["message"] for entry in log]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path) -> None:
        """Photograph what the window shows."""
        self.driver.save_screenshot(str(path))
