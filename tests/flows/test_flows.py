"""Each flow with a real Glance: exactly one manifest, or the right state and reason, and no work done twice.

The service is one process. It learns of everything from notifications and, all the while, from Glance's list.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests import qemu
from tests.flows.cloud import QUICK, Cloud, cloud_of
from tests.flows.flows import CONVERTING, FLOWS, SEVERAL_STORES, Flow, User, user_of
from tests.servers.glance import Glance
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import ServeProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]


class Site:
    """A Glance of one kind with the service beside it."""

    def __init__(self, cloud: Cloud, user: User, service: ServeProcess) -> None:
        self.cloud = cloud
        self.user = user
        self.service = service

    def settled(self) -> None:
        """Wait until all that was sent before is taken in: what is sent now comes in after it."""
        eventually(self._upload_one_more)

    def _upload_one_more(self) -> bool:
        try:
            last = self.user.upload(name="the last one")
        except requests.HTTPError:
            return False  # Glance's SQLite was locked by a task of its own.
        eventually(lambda: self.cloud.status(last) == "ready")
        return True


@pytest.fixture(scope="module")
def sites(rabbitmq_server: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:
        yield {
            "several": _site(stack, rabbitmq_server, tmp_path_factory.mktemp("several"), ["fast", "cheap"]),
            "converting": _site(stack, rabbitmq_server, tmp_path_factory.mktemp("converting"), []),
        }


def _site(stack: ExitStack, rabbitmq: RabbitMQ, folder: Path, backends: list[str]) -> Site:
    rabbitmq.start()
    transport_url = rabbitmq.transport_url_of(rabbitmq.create_virtual_host())
    settings = SEVERAL_STORES if backends else CONVERTING
    (folder / "glance").mkdir()
    glance = stack.enter_context(Glance(folder / "glance", transport_url, backends=backends, settings=settings))
    ours = {"reconcile": {"interval": "0.5"}}
    cloud = stack.enter_context(cloud_of(glance, f"sqlite:///{folder}/ours.sqlite", folder, {**QUICK, **ours}))
    service = stack.enter_context(ServeProcess(folder / "serve", cloud.settings, [glance.config_file]))
    return Site(cloud, stack.enter_context(user_of(glance, folder / "files")), service)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_flow(sites: dict[str, Site], flow: Flow) -> None:
    site = sites[flow.glance]

    image_id = flow.act(site.user)

    site.settled()
    eventually(lambda: site.cloud.status(image_id) == flow.status)
    if flow.status is None:
        eventually(lambda: tuple(Counter(site.cloud.history(image_id))) == flow.other)
        assert site.cloud.manifest(image_id) is None
        return
    events = Counter(site.cloud.history(image_id))
    # A slow Glance's answer may come too late for an attempt; none is lost for that, and none done twice.
    events["computation-started"] -= events.pop("computation-retried", 0)
    record = site.cloud.manifest(image_id)
    assert record is not None
    assert (record.revision, record.code) == (1, flow.code)
    if flow.status == "ready":
        assert record.disk_format == flow.disk_format
        assert (events["uploaded"], events["computation-started"], events["ready"]) == (1, 1, 1)
        assert record.source_size == site.user.client.show(image_id)["size"]
    assert set(events) <= {"uploaded", "computation-started", "ready", "signed", "refused", *flow.other}
    assert events["computation-started"] <= flow.computations


def test_a_deletion_while_it_is_computed_ends_the_computation(sites: dict[str, Site], tmp_path: Path) -> None:
    site = sites["several"]
    large = tmp_path / "large.qcow2"
    qemu.create(large, 64 << 30)  # a minute of zeros to hash, in a file of some KiB
    image_id = site.user.create()
    site.user.client.upload(image_id, large.read_bytes())
    eventually(lambda: _is_under_way(site.cloud, image_id))

    site.user.client.delete(image_id)

    eventually(lambda: site.cloud.status(image_id) == "deleted")
    site.settled()  # the worker is free for others at once
    history = site.cloud.history(image_id)
    retries = ["computation-started", "computation-retried"] * history.count("computation-retried")
    assert history == ["uploaded", *retries, "computation-started", "deleted"]


def _is_under_way(cloud: Cloud, image_id: str) -> bool:
    """Whether bytes of it are done: its file is open then, and the worker has it until the end, deleted or not."""
    record = cloud.manifest(image_id)
    return record is not None and record.progress is not None and record.progress.done > 0
