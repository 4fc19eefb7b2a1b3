"""The browser that all tests of pages share, and what must be true after each."""

from collections.abc import Iterator

import pytest

from tests.api.client import Client
from tests.browser.chromium import Chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chromium, local_api: Client) -> Iterator[Chromium]:
    """Chromium, as good as new. After the test, its console is empty, and it has asked nobody but our own origin."""
    chromium.begin()
    yield chromium
    requests = chromium.take_requests()
    assert [url for url in requests if not url.startswith((f"{local_api.url}/", "about:blank"))] == []
    assert chromium.take_console() == []
    chromium.driver.get("about:blank")
