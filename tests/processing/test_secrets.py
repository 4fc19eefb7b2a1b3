"""The credentials that a location can hold: nowhere to be read, whatever goes wrong."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from manifest_service import config
from manifest_service.images.stores import ImageStores
from manifest_service.manifests import history as history_of
from manifest_service.manifests.database import Database
from manifest_service.manifests.visibility import EVERYTHING
from manifest_service.processing.worker import Worker
from tests.api.client import Client
from tests.builders import IMAGE_ID, observation, observe
from tests.images.small_glance import SmallGlance
from tests.processing.test_worker import SETTINGS
from tests.servers.process import free_port
from tests.servers.web import Answer, WebServer, cut, status, whole

SECRET = "hunter2"
STORES = """
stores = file,http,s3,swift
s3_store_host = http://127.0.0.1:{port}
s3_store_access_key = someone
s3_store_secret_key = hunter2
s3_store_bucket = images
s3_store_bucket_url_format = path
"""


ANSWERED = "http://user:hunter2@127.0.0.1:{port}/image?signature=hunter2"
UNANSWERED = [
    "http://user:hunter2@127.0.0.1:{nobody}/image?signature=hunter2",
    "http://user:hunter2@[bad/image",
    "s3+http://someone:hunter2@127.0.0.1:{nobody}/images/image",
    "s3+http://hunter2",
    "swift+http://project%3Auser:hunter2@127.0.0.1:{nobody}/v3/images/image",
    "swift+config://hunter2/images/image",
    "swift://hunter2",
    "vsphere://user:hunter2@host/folder",
    "file:///no/hunter2",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("location", "answer"),
    [
        *((ANSWERED, answer) for answer in (whole, cut(1000), status(403), status(500))),
        *((location, whole) for location in UNANSWERED),
    ],
)
def test_a_location_s_credentials_show_nowhere(
    location: str,
    answer: Answer,
    local: Database,
    serve_api: Callable[..., Client],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nobody = free_port()
    with WebServer(bytes(5000), [answer]) as web:
        port = web.place.partition(":")[2]
        with SmallGlance([(location.format(port=port, nobody=nobody), None)]) as glance:
            file = tmp_path / "service.conf"
            file.write_text(
                f"[DEFAULT]\nstate_path = {tmp_path}\n[limits]\nstore_pause = 0\nstore_silence = 20\n"
                f"[glance_store]{STORES.format(port=nobody)}{glance.config}"
            )
            conf = config.load([str(file)])
            _log_as_with_debug(conf.default_log_levels, caplog)
            observe(local, observation(size=5000, checksums={}, disk_format="raw"))
            Worker(local, ImageStores(conf), replace(SETTINGS, max_attempts=1), "0.1.0").work_once()

    events = local.transaction(lambda session: history_of.list_history(session, EVERYTHING, IMAGE_ID, 10))
    assert SECRET not in str(events)
    assert SECRET not in caplog.text
    api = serve_api(local)
    for path in (f"/v1/manifests/{IMAGE_ID}", f"/v1/manifests/{IMAGE_ID}/history", "/v1/events"):
        assert SECRET not in api.get(path).text
    assert events[-1].kind == ("ready" if location == ANSWERED and answer is whole else "failed")


def _log_as_with_debug(levels: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """What `debug = true` lets through: everything, but for the libraries that we have quietened."""
    caplog.set_level(logging.DEBUG)
    for entry in levels:
        name, _, level = entry.partition("=")
        caplog.set_level(level, logger=name)
