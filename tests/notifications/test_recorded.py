"""What a real Glance sent in each flow (tests/flows/record.py), in any order and more than once: the same end."""

import copy
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Event, Image, ImageMember, Manifest
from manifest_service.manifests.work_models import QueueEntry
from notifications.endpoint import ImageEndpoint
from tests.flows.flows import FLOWS, Flow

RECORDED = Path(__file__).parent / "recorded"
DOCUMENTS = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDED.glob("*.json"))}

Message = dict[str, Any]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all tests here: each plays its messages with an image id of its own."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('recorded')}/db.sqlite")
    schema.upgrade(database)
    yield database
    database.close()


def messages_of(name: str) -> tuple[str, list[Message]]:
    """The messages of a flow, as of an image that nobody has seen."""
    recorded, image_id = DOCUMENTS[name], str(uuid4())
    messages = json.loads(json.dumps(recorded["messages"]).replace(recorded["image_id"], image_id))
    for message in messages:
        message["metadata"]["message_id"] = str(uuid4())
    return image_id, messages


def play(database: Database, messages: Sequence[Message]) -> None:
    """Have the endpoint take them, one after the other, as oslo.messaging would hand them to it."""
    endpoint = ImageEndpoint(database, requeue_delay=0)
    for message in copy.deepcopy(list(messages)):
        take = endpoint.info if message["priority"] == "info" else endpoint.error
        take({}, "image.host-1", message["event_type"], message["payload"], message["metadata"])


def end_of(database: Database, image_id: str, messages: Sequence[Message]) -> dict[str, Any]:
    """All that is kept of the image, apart from when it was written."""

    def read(session: Any) -> dict[str, Any]:
        image = session.scalars(select(Image).where(Image.image_id == image_id)).one()
        manifests = session.scalars(select(Manifest).where(Manifest.image_id == image_id)).all()
        entries = session.scalar(select(func.count()).where(QueueEntry.image_id == image_id))
        kinds = Counter(session.scalars(select(Event.kind).where(Event.image_id == image_id)))
        ids = [message["metadata"]["message_id"] for message in messages]
        rejected = session.scalar(select(func.count()).where(Event.message_id.in_(ids)))
        is_deleted = image.deleted_at is not None
        shared = session.scalars(select(ImageMember).where(ImageMember.image_id == image_id))
        return {
            "members": {row.member: row.is_member for row in shared},
            "image": (
                image.name,
                image.visibility,
                image.disk_format,
                image.glance_status,
                image.size,
                image.checksums,
            ),
            "deleted": is_deleted,
            "entries": entries,
            # Of a deleted image a manifest may have been begun, or not: nobody can get it any more.
            "manifests": None if is_deleted else [(row.status, row.expected_checksums) for row in manifests],
            "kinds": {kind: n for kind, n in kinds.items() if not (is_deleted and kind == "uploaded")},
            "rejected": rejected,
        }

    return database.transaction(read)


def test_every_flow_is_recorded() -> None:
    assert set(DOCUMENTS) == {flow.name for flow in FLOWS}


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_in_the_order_of_sending(inbox: Database, flow: Flow) -> None:
    image_id, messages = messages_of(flow.name)

    play(inbox, messages)

    end = end_of(inbox, image_id, messages)
    assert end["rejected"] == end["kinds"].pop("upload-rejected", 0) == ("upload-rejected" in flow.other)
    if flow.status == "deleted":
        assert (end["deleted"], end["entries"], end["kinds"]) == (True, 0, {"deleted": 1})
    elif flow.status is None:
        assert (end["manifests"], end["entries"], end["kinds"]) == ([], 0, {})
    else:
        ((status, checksums),) = end["manifests"]
        assert (status, set(checksums), end["entries"], end["kinds"]) == ("pending", {"md5"}, 1, {"uploaded": 1})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_in_any_order_and_more_than_once(inbox: Database, name: str, data: st.DataObject) -> None:
    first_id, first = messages_of(name)
    play(inbox, first)
    image_id, messages = messages_of(name)
    again = data.draw(st.lists(st.sampled_from(messages), max_size=4))

    play(inbox, data.draw(st.permutations([*messages, *again])))

    assert end_of(inbox, image_id, messages) == end_of(inbox, first_id, first)
