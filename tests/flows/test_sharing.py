"""Who sees an image in a real Glance sees its manifest, and nobody else: by notifications, and by asking Glance."""

from pathlib import Path

import pytest

from manifest_service.manifests import queries
from manifest_service.manifests.database import Database
from manifest_service.manifests.visibility import Visibility
from tests.flows.cloud import Cloud, cloud_of
from tests.servers.glance import Glance
from tests.servers.glance_client import GlanceClient
from tests.servers.service import ListenerProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

OWNER = "project-of-the-tests"
PROJECTS = (OWNER, "pending", "accepting", "rejecting", "taken-off", "stranger")


def seen_here(database: Database, image_id: str) -> set[str]:
    """The projects that see an image here."""

    def ask(project: str) -> bool:
        seen_by = Visibility(frozenset({project}))
        return database.transaction(lambda session: queries.image_is_deleted(session, seen_by, image_id)) is not None

    return {project for project in PROJECTS if ask(project)}


def seen_in_glance(glance: Glance, image_id: str) -> set[str]:
    """The projects that Glance shows an image to, asked as readers."""
    return {
        project for project in PROJECTS if GlanceClient(glance.endpoint, ["reader", "member"], project).sees(image_id)
    }


def share(glance: Glance) -> dict[str, str]:
    """An image of each visibility, each shared with others as far as Glance allows: visibility → image id."""
    client = glance.client
    images = {}
    for visibility in ("shared", "private", "community", "public"):
        images[visibility] = image_id = client.create_image("raw", "bare")["id"]
        client.upload(image_id, b"data")
        for member in PROJECTS[1:5]:
            client.add_member(image_id, member)
        client.answer_sharing(image_id, "accepting", "accepted")
        client.answer_sharing(image_id, "rejecting", "rejected")
        client.remove_member(image_id, "taken-off")
        client.change(image_id, visibility=visibility)
    return images


def agree(cloud: Cloud, images: dict[str, str]) -> bool:
    return all(
        seen_here(cloud.database, image_id) == seen_in_glance(cloud.glance, image_id) for image_id in images.values()
    )


def test_by_notifications(glance: Glance, tmp_path: Path) -> None:
    settings = {"listener": {"pool": "sharing"}}
    with cloud_of(glance, f"sqlite:///{tmp_path}/ours.sqlite", tmp_path, settings) as cloud:
        with ListenerProcess(tmp_path / "listener", cloud.settings, [glance.config_file]) as listener:
            listener.start()
            images = share(glance)

            eventually(lambda: agree(cloud, images))
        assert seen_here(cloud.database, images["shared"]) == {OWNER, "pending", "accepting", "rejecting"}


def test_by_asking(glance: Glance, tmp_path: Path) -> None:
    images = share(glance)
    settings = {"reconcile": {"members": "true"}}
    with cloud_of(glance, f"sqlite:///{tmp_path}/ours.sqlite", tmp_path, settings) as cloud:
        cloud.call("backfill")
        assert agree(cloud, images)

        glance.client.remove_member(images["shared"], "pending")
        glance.client.add_member(images["shared"], "stranger")
        cloud.call("reconcile")
        assert agree(cloud, images)
        assert seen_here(cloud.database, images["shared"]) == {OWNER, "accepting", "rejecting", "stranger"}
