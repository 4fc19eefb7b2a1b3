"""A Glance that sends no notifications at all, as Glance does unless told otherwise: reconciling alone serves it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.cloud import Cloud, cloud_of
from tests.servers.glance import Glance
from tests.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SILENT = {"oslo_messaging_notifications": {"driver": "noop"}}


@pytest.fixture
def cloud(glance_factory: Callable[..., Glance], tmp_path: Path) -> Iterator[Cloud]:
    glance = glance_factory(settings=SILENT)
    settings = {"reconcile": {"interval": "0.5"}}
    with cloud_of(glance, f"sqlite:///{tmp_path}/ours.sqlite", tmp_path, settings) as cloud:
        yield cloud


def test_images_become_ready_and_deleted_without_a_notification(cloud: Cloud) -> None:
    client = cloud.glance.client
    with cloud.worker("worker"):
        shown = cloud.upload(name="shown", visibility="community")
        hidden = cloud.upload(name="hidden", os_hidden=True)
        eventually(lambda: cloud.statuses([shown, hidden]) == {"ready"})

        client.deactivate(shown)
        client.delete(hidden)
        eventually(lambda: cloud.status(hidden) == "deleted")

        assert cloud.status(shown) == "ready"
        assert cloud.history(shown) == ["uploaded", "computation-started", "ready"]
        assert cloud.history(hidden) == ["uploaded", "computation-started", "ready", "deleted"]
