"""Glance's list, read page by page: from a real Glance, and from one that does not answer as it should."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.images.glance_api import AnswerTooLarge, GlanceApi
from manifest_service.images.glance_connection import GlanceAway, UrlConnection
from manifest_service.images.glance_list import TRIES, Cursor, GlanceList, ListFilter, Page
from tests.servers.glance import Glance

EVERYTHING = ListFilter()


def entry(number: int, **changes: object) -> dict[str, object]:
    image_id = f"{number:08}-1111-4111-8111-111111111111"
    return {"id": image_id, "status": "active", "created_at": f"2026-11-25T12:00:{number:02}Z", **changes}


class Scripted:
    """In place of a Glance: gives one answer after the other, and remembers what it was asked."""

    place = "glance.example.org"

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[Mapping[str, str]] = []

    def get_document(self, path: str, most: int) -> Any:
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()})
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def read(*answers: Any, cursor: Cursor = Cursor()) -> tuple[Page, Scripted]:  # noqa: B008
    glance = Scripted(*answers)
    return GlanceList(glance, lambda _: None).read(cursor, EVERYTHING), glance  # type: ignore[arg-type]


def away() -> GlanceAway:
    return GlanceAway("it does not answer")


def bad_answer() -> DownloadFailed:
    return DownloadFailed(DownloadCode.BAD_ANSWER, "it answered 400")


def test_pages_follow_each_other_the_hidden_after_the_shown() -> None:
    first, _ = read({"images": [entry(1), entry(2)], "next": "/v2/images?marker=x"})
    assert first.cursor == Cursor(marker=str(entry(2)["id"]), last=datetime(2026, 11, 25, 12, 0, 2, tzinfo=UTC))

    second, glance = read({"images": [entry(3)]}, cursor=first.cursor)
    assert glance.asked[0]["marker"] == entry(2)["id"]
    assert (glance.asked[0]["os_hidden"], glance.asked[0]["visibility"]) == ("false", "all")
    assert second.cursor == Cursor(hidden=True)

    last, glance = read({"images": []}, cursor=Cursor(hidden=True))
    assert glance.asked[0]["os_hidden"] == "true"
    assert last.cursor is None


def test_a_cursor_survives_being_kept() -> None:
    for cursor in (Cursor(), Cursor(True, datetime(2026, 1, 2, tzinfo=UTC), "id", datetime(2026, 1, 3, tzinfo=UTC))):
        assert Cursor.from_json(cursor.as_json()) == cursor


def test_a_marker_that_was_deleted_meanwhile_is_replaced_by_its_time() -> None:
    cursor = Cursor(marker=str(entry(2)["id"]), last=datetime(2026, 11, 25, 12, 0, 2, tzinfo=UTC))

    page, glance = read(bad_answer(), {"images": [entry(3)]}, cursor=cursor)

    assert [image.image_id for image in page.images] == [entry(3)["id"]]
    assert "marker" not in glance.asked[1]
    assert glance.asked[1]["created_at"] == "gte:2026-11-25T12:00:02Z"


def test_a_glance_that_takes_no_marker_at_all_is_told_of_and_not_asked_for_ever() -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)

    with pytest.raises(DownloadFailed, match="400"):
        read(bad_answer(), cursor=Cursor(begin=noon, marker=str(entry(1)["id"]), last=noon))


def test_a_glance_that_is_away_for_a_moment_is_asked_again() -> None:
    page, glance = read(*[away()] * (TRIES - 1), {"images": [entry(1)]})

    assert len(page.images) == 1
    with pytest.raises(GlanceAway):
        read(*[away()] * TRIES)
    assert len(glance.asked) == TRIES


def test_a_record_that_is_none_keeps_nobody_else_from_being_read() -> None:
    page, _ = read({"images": [entry(1, size="many"), entry(2)]})

    assert [image.image_id for image in page.images] == [entry(2)["id"]]
    assert page.unreadable == (entry(1)["id"],)


@pytest.mark.parametrize("answer", [[], {}, {"images": {}}, {"images": [1]}, {"images": [{}]}, None, "text"])
def test_what_is_no_list_is_told(answer: object) -> None:
    with pytest.raises(DownloadFailed, match="no list of images"):
        read(answer)


def test_a_list_that_leads_round_in_a_circle_ends() -> None:
    with pytest.raises(DownloadFailed, match="no list of images"):
        read({"images": [entry(1)], "next": "/v2/images"}, cursor=Cursor(marker=str(entry(1)["id"])))


def test_an_image_that_is_not_there_is_none_and_other_errors_are_told() -> None:
    class Asked(Scripted):
        def show(self, image_id: str) -> Any:
            return self.get_document("/", 1)

    missing = DownloadFailed(DownloadCode.NOT_FOUND, "404")
    forbidden = DownloadFailed(DownloadCode.FORBIDDEN, "403")
    glance = GlanceList(Asked(missing, forbidden), lambda _: None)  # type: ignore[arg-type]

    assert glance.show("id") is None
    with pytest.raises(DownloadFailed, match="403"):
        glance.show("id")


def list_of(glance: Glance, roles: str = "admin", page: int = 2) -> GlanceList:
    return GlanceList(GlanceApi(UrlConnection(glance.endpoint, {"X-Auth-Token": roles})), time.sleep, page)


def ids_of(images: GlanceList, wanted: ListFilter, cursor: Cursor | None = None) -> list[str]:
    found: list[str] = []
    following = cursor or Cursor()
    while True:
        page = images.read(following, wanted)
        found += [image.image_id for image in page.images]
        if page.cursor is None:
            return found
        following = page.cursor


def test_a_real_glance_lists_every_visibility_and_hidden_images(glance: Glance) -> None:
    client, owner = glance.client, f"owner-{time.monotonic_ns()}"
    made = [
        client.create_image("raw", owner=owner, visibility=visibility, os_hidden=hidden)["id"]
        for visibility in ("public", "community", "shared", "private")
        for hidden in (False, True)
    ]
    client.upload(made[0], b"data" * 128)

    everything = ids_of(list_of(glance), ListFilter(owner=owner))
    assert sorted(everything) == sorted(made)
    assert everything == [*made[::2], *made[1::2]]
    assert ids_of(list_of(glance), ListFilter(owner=owner, visibility="community")) == made[2:4]
    assert ids_of(list_of(glance), ListFilter(owner=owner, status="active")) == made[:1]
    assert ids_of(list_of(glance), ListFilter(owner=owner, disk_format="qcow2")) == []
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert ids_of(list_of(glance), ListFilter(owner=owner, since=tomorrow)) == []
    assert ids_of(list_of(glance), ListFilter(owner=owner), Cursor(begin=tomorrow)) == made[1::2]
    record = list_of(glance).show(made[0])
    assert record is not None
    assert set(record.checksums) == {"md5", "sha512"}


def test_a_real_glance_tells_who_sees_everything(glance: Glance) -> None:
    private = glance.client.create_image("raw", visibility="private")["id"]

    assert list_of(glance).sees_everything()
    assert not list_of(glance, "member,reader").sees_everything()
    assert list_of(glance, "member,reader").show(private) is None
    assert list_of(glance).show(private) is not None
    glance.client.delete(private)
    assert list_of(glance).show(private) is None


def test_a_page_that_is_too_large_is_asked_for_in_parts() -> None:
    """Anybody may give his image some MiB of properties: that must not end the walk for all others."""
    part, glance = read(AnswerTooLarge(1), AnswerTooLarge(1), {"images": [entry(1)], "next": "/v2/images?marker=x"})

    assert [each["limit"] for each in glance.asked] == ["200", "25", "3"]
    assert part.cursor is not None
    with pytest.raises(AnswerTooLarge):
        read(*[AnswerTooLarge(1)] * 4)
