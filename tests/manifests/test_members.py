"""With whom images are shared: by messages in any order, and by what Glance says when it is asked."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from manifest_service.manifests import fleet, history, members, names, queries
from manifest_service.manifests.database import Database
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.members import MemberObservation
from manifest_service.manifests.models import ImageMember
from manifest_service.manifests.queries import ManifestFilter, Order, SortKey
from manifest_service.manifests.states import Status
from manifest_service.manifests.visibility import EVERYTHING, Visibility
from manifest_service.processing.sharing import Sharing
from tests.builders import IMAGE_ID, NOON, observation, observe
from tests.processing.simulated_glance import record

OURS = Visibility(frozenset({"p2"}))
ADDED = MemberObservation(IMAGE_ID, "p2", is_member=True, changed_at=NOON, observed_at=NOON)
LATER = NOON + timedelta(seconds=9)


def take_in(database: Database, *seen: MemberObservation) -> None:
    for each in seen:
        database.transaction(lambda session: members.observe(session, each))  # noqa: B023


def is_seen(database: Database, seen_by: Visibility = OURS) -> bool:
    return database.transaction(lambda session: queries.get_current(session, seen_by, IMAGE_ID)) is not None


def projects(database: Database) -> set[str]:
    query = select(ImageMember.member).where(ImageMember.image_id == IMAGE_ID, ImageMember.is_member.is_(True))
    return set(database.transaction(lambda session: session.scalars(query).all()))


def test_a_shared_image_is_seen_by_its_members(database: Database) -> None:
    take_in(database, ADDED)  # Before the image itself is known.
    observe(database, observation(owner="p1", visibility="shared"))

    assert is_seen(database)
    assert is_seen(database, Visibility(frozenset({"p1"})))
    assert is_seen(database, EVERYTHING)
    assert not is_seen(database, Visibility(frozenset({"p3"})))
    assert not is_seen(database, Visibility(frozenset()))

    take_in(database, replace(ADDED, is_member=False, changed_at=LATER, observed_at=LATER))
    assert not is_seen(database)


@pytest.mark.parametrize("visibility", ["public", "community", "shared", "private"])
def test_a_change_of_visibility_is_followed(visibility: str, local: Database) -> None:
    observe(local, observation(owner="p1", visibility="private"))
    assert not is_seen(local)

    observe(local, observation(owner="p1", visibility=visibility, updated_at=LATER, observed_at=LATER))

    assert is_seen(local) is (visibility in ("public", "community"))


def test_an_image_without_an_owner_is_not_everybody_s(local: Database) -> None:
    observe(local, observation(owner=None, visibility="shared"))

    assert not is_seen(local)
    assert is_seen(local, EVERYTHING)


def test_the_order_of_messages_does_not_matter(local: Database) -> None:
    taken_off = replace(ADDED, is_member=False, changed_at=LATER, observed_at=LATER)
    again = replace(ADDED, changed_at=LATER, observed_at=LATER + timedelta(milliseconds=1))
    messages = [ADDED, taken_off, again, ADDED]
    random.shuffle(messages)

    take_in(local, *messages)

    assert projects(local) == {"p2"}


def test_a_time_that_lies_ahead_does_not_make_a_member_for_good(local: Database) -> None:
    far = datetime(9999, 1, 1, tzinfo=UTC)
    forged = replace(ADDED, changed_at=far, observed_at=far)
    take_in(local, forged, replace(ADDED, is_member=False, changed_at=LATER, observed_at=LATER))
    assert projects(local) == set()

    take_in(local, forged)
    Sharing(local, Glance()).take_in([record(IMAGE_ID)])
    assert projects(local) == set()


def test_lists_events_and_digests_obey_on_every_database(database: Database) -> None:
    seen = [f"{number:08}-0000-4000-8000-000000000000" for number in range(6)]
    for number, image_id in enumerate(seen):
        owner, visibility = [("p2", "private"), ("p1", "public"), ("p1", "community"), ("p1", "shared")][number % 4]
        observe(database, observation(image_id=image_id, owner=owner, visibility=visibility))
        hidden = image_id.replace("-0000-", "-ffff-")
        observe(database, observation(image_id=hidden, owner="p1", visibility="shared"))
    take_in(database, *(replace(ADDED, image_id=image_id) for image_id in seen if int(image_id[:8]) % 4 == 3))

    for order in (
        Order(),
        Order(descending=False),
        Order(SortKey.CHANGED_AT),
        Order(SortKey.CHANGED_AT, descending=False),
    ):
        for wanted in (ManifestFilter(), ManifestFilter(status=Status.PENDING), ManifestFilter(disk_format="qcow2")):
            found, marker = [], None
            while page := database.transaction(
                lambda session: queries.list_current(session, OURS, wanted, 2, marker, order)  # noqa: B023
            ):
                found += [each.image_id for each in page]
                marker = order.marker_of(page[-1])
            assert sorted(found) == seen
    events = database.transaction(lambda session: history.list_events(session, OURS, EventFilter(), 100))
    assert {event.image_id for event in events} == set(seen)
    assert database.transaction(lambda session: queries.count_current(session, OURS, ManifestFilter())) == len(seen)
    assert len(database.transaction(lambda session: names.find_by_name(session, OURS, "q1", 100))) == len(seen)
    assert len(database.transaction(lambda session: names.find_by_name(session, OURS, "q", 100))) == len(seen)
    with_nodes = replace(OURS, nodes=True)
    assert database.transaction(lambda session: fleet.list_nodes(session, with_nodes, 9, None)) == []


class Glance:
    def __init__(self, *members: str) -> None:
        self.listed: frozenset[str] | None = frozenset(members)
        self.asked: list[str] = []

    def members(self, image_id: str) -> frozenset[str] | None:
        self.asked.append(image_id)
        return self.listed


def test_what_messages_did_not_tell_is_found_by_asking(database: Database) -> None:
    take_in(database, ADDED)
    glance = Glance("p3", "p4")
    sharing = Sharing(database, glance)

    assert sharing.take_in([record(IMAGE_ID), record("another", visibility="private")]) == 1
    assert (glance.asked, projects(database)) == ([IMAGE_ID], {"p3", "p4"})

    take_in(database, ADDED)  # Older than the answer.
    assert projects(database) == {"p3", "p4"}

    glance.listed = None
    sharing.take_in([record(IMAGE_ID)])
    assert projects(database) == {"p3", "p4"}
