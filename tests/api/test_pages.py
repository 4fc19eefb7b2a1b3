"""The pages over HTTP, as somebody without JavaScript gets them."""

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin
from uuid import UUID, uuid4

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.pages import fleet, images, searching, words
from manifest_service.errors import NEXT_STEPS, FailureCode, ImageRefused, RefusalCode
from manifest_service.manifests import history
from manifest_service.manifests.database import Database
from manifest_service.manifests.intake import cache_name_of
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.values import Progress
from manifest_service.processing import queue
from tests.api.client import Client
from tests.api.test_verifications import report, verification
from tests.builders import IMAGE_ID, NOON, SHA256, claimed, computed, finish, observation, observe

HOSTILE = "<script>alert(1)</script>\"'&\u202e\u200b"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;\\u202e\\u200b"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
_INLINE = re.compile(r"<script(?! type=\"module\" src=\"/pages/main.js\"></script>)|<style| style=| on[a-z]+=")
DIGESTS = {
    "sha256": SHA256,
    "fsverity-sha256": "a1" * 32,
    "blkhash-sha256": "b2" * 32,
    "sha512": "c3" * 64,
    "md5": "d4" * 16,
    "sha1": "e5" * 20,
    "sha384": "f6" * 48,
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five: with few rows there are several."""
    for place, name in ((images, "PAGE"), (fleet, "NODES"), (fleet, "FILES"), (searching, "MOST_FOUND")):
        monkeypatch.setattr(place, name, 5)


def page(api: Client, path: str, status: int = 200, **options: Any) -> str:
    """A page, as a browser asks for it."""
    response = requests.get(api.url + path, headers=BROWSER, timeout=30, **options)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'; style-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert _INLINE.search(response.text) is None
    return response.text


def ready(database: Database, **changes: Any) -> None:
    observe(database, observation(**changes))
    finish(database, claimed(database), computed(digests=DIGESTS))


def found_at(api: Client, sought: str) -> str | None:
    """Where a search leads; None where it finds none, or several."""
    return api.get("/images", params={"q": sought}).headers.get("Location")


def many(database: Database, count: int) -> list[str]:
    """Images, by their ids, the newest first."""
    image_ids = [str(UUID(int=number)) for number in range(count)]
    observe(database, *(observation(image_id=image_id, name=f"image {image_id[-3:]}") for image_id in image_ids))
    return image_ids[::-1]


def listed(text: str) -> list[str]:
    return re.findall(r'<tr id="image-([0-9a-f-]+)"', text)


def link(text: str, words: str) -> str:
    """Where a link of these words leads."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>{words}', text)
    assert found is not None, f"there is no link {words!r}"
    return unescape(found[1])


def test_a_search_finds_an_image_by_what_somebody_holds(local_api: Client, local: Database) -> None:
    ready(local)
    observe(local, observation(image_id=str(uuid4()), name="other"))
    cache_name = cache_name_of(IMAGE_ID)

    for sought in (
        IMAGE_ID,
        IMAGE_ID.upper(),
        IMAGE_ID.replace("-", ""),
        f"  {IMAGE_ID}\n",
        cache_name,
        f"/var/lib/nova/instances/_base/{cache_name}",
        f"{cache_name}_20",
        f"{cache_name}.part",
        *DIGESTS.values(),
        *(f"{algorithm}:{value}" for algorithm, value in DIGESTS.items()),
        SHA256.upper(),
        f"{SHA256}  disk of mine",
        f"{SHA256} */var/lib/disk",
        "q1",
        "q",
        "Q",
    ):
        assert found_at(local_api, sought) == f"/images/{IMAGE_ID}", sought


def test_a_search_that_finds_nothing_says_what_may_be_wrong(local_api: Client) -> None:
    for sought, hint in (
        (str(uuid4()), "No image of this id has been seen."),
        ("0" * 40, "No image is known whose file in _base has this name"),
        ("0" * 64, "No image's disk has this digest."),
        ("crc32:00000000", "No image's disk has this digest."),
        ("0" * 63, "it has 63 hex digits, and digests have 32, 40, 56, 64, 96, 128."),
        ("nothing", "No image has a name that begins like this"),
        ("\x00", "It holds a character that no name and no digest can hold."),
        ("x" * 1001, "It is longer than any name or digest: 1,001 characters."),
        ("100%_", "No image has a name that begins like this"),
    ):
        assert hint in unescape(page(local_api, "/images", params={"q": sought}))


def test_a_name_that_several_images_have_or_begin_with_gives_a_list(api: Client, database: Database) -> None:
    names = ["ubuntu", "ubuntu", "ubuntu-22.04", "ubuntu%", "Ubuntu-24.04", "ubunt\U0010fffe", "xubuntu", "debian"]
    for name in names:
        observe(database, observation(image_id=str(uuid4()), name=name))

    def names_of(sought: str) -> list[str]:
        return re.findall(r"<th scope=\"row\"><a [^>]+><bdi>([^<]+)</bdi>", page(api, "/images", params={"q": sought}))

    assert names_of("ubuntu") == ["ubuntu"] * 2
    assert names_of("ubunt") == ["ubuntu", "ubuntu", "ubuntu%", "ubuntu-22.04", "ubunt\\U0010fffe"]
    assert len(names_of("u")) == 5
    assert names_of("DEBIAN") == []
    assert found_at(api, "ubuntu%") is not None
    assert found_at(api, "Debian") is not None
    assert found_at(api, "ubuntu_") is None


@pytest.mark.usefixtures("short")
def test_a_search_that_finds_too_much_says_so(local_api: Client, local: Database) -> None:
    many(local, 6)

    text = page(local_api, "/images?q=image")

    assert len(listed(text)) == 5
    assert "There are more: say more of the name." in text


def test_what_was_sought_comes_back_as_text(local_api: Client) -> None:
    text = page(local_api, "/images", params={"q": HOSTILE})

    assert ESCAPED in text
    assert 'value="&lt;script&gt;' in text


@pytest.mark.usefixtures("short")
def test_the_list_goes_back_and_forth(local_api: Client, local: Database) -> None:
    image_ids = many(local, 12)
    first = page(local_api, "/images")
    second = page(local_api, link(first, "Older images"))
    third = page(local_api, link(second, "Older images"))

    assert listed(first) + listed(second) + listed(third) == image_ids
    assert "Newer images" not in first
    assert "Older images" not in third
    assert listed(page(local_api, link(third, "Newer images"))) == image_ids[5:10]
    back = page(local_api, link(second, "Newer images"))
    assert listed(back) == image_ids[:5]
    assert "Newer images" not in back


@pytest.mark.usefixtures("short")
def test_the_list_is_narrowed_to_a_state(local_api: Client, local: Database) -> None:
    ready(local)
    image_ids = many(local, 6)

    text = page(local_api, "/images?status=pending")

    assert listed(text) == image_ids[:5]
    assert listed(page(local_api, link(text, "Older images"))) == image_ids[5:]
    assert listed(page(local_api, "/images?status=ready")) == [IMAGE_ID]
    assert "There is no image that is refused here." in page(local_api, "/images?status=refused")
    assert 'aria-current="page">ready' in page(local_api, "/images?status=ready")


def test_an_empty_list_says_what_to_do(local_api: Client) -> None:
    assert "<code>manifest-service try FILE</code>" in page(local_api, "/images")


def test_images_under_way_show_how_far_they_are(local_api: Client, local: Database) -> None:
    observe(local, observation())
    task = claimed(local)
    local.transaction(lambda session: queue.renew(session, task, images.RECENT, Progress(done=999, total=1000)))

    for path in ("/images", f"/images/{IMAGE_ID}"):
        text = page(local_api, path)
        assert '<progress aria-label="Bytes of the disk that are done" max="1000" value="999">' in text
        assert "99 %" in text
        assert page(local_api, link(text, "[Ll]ook again"))


def test_a_name_is_only_ever_text(local_api: Client, local: Database) -> None:
    ready(local, name=HOSTILE, owner=HOSTILE)
    report(local_api, verification(file=HOSTILE, reason=HOSTILE, verdict="corrupt"))

    for path in ("/images", f"/images/{IMAGE_ID}", "/fleet", "/fleet/files?verdict=corrupt"):
        text = page(local_api, path)
        assert f"<bdi>{ESCAPED}</bdi>" in text, path
        assert "\u202e" not in text
        assert "\u200b" not in text
    assert f"<title>{ESCAPED} · manifest-service</title>" in page(local_api, f"/images/{IMAGE_ID}")


def test_an_image_without_a_name_can_be_followed_too(local_api: Client, local: Database) -> None:
    for number, (name, shown) in enumerate(((None, "(no name)"), ("", "(blank name)"), (" \t", "(blank name)"))):
        image_id = str(UUID(int=number))
        observe(local, observation(image_id=image_id, name=name))

        assert f'<a href="/images/{image_id}"><bdi>{shown}</bdi></a>' in page(local_api, "/images")


def test_an_image_shows_all_that_is_known_of_it(local_api: Client, local: Database) -> None:
    observe(local, observation(owner="someone"))
    finish(local, claimed(local), computed(digests=DIGESTS, block_map="<bmap/>", warnings=("it has `snapshots`",)))

    text = page(local_api, f"/images/{IMAGE_ID}")

    for value in (*DIGESTS.values(), IMAGE_ID, cache_name_of(IMAGE_ID), "25,165,824 bytes", "It has `snapshots`"):
        assert value in text
    assert "2.8 MiB" in text
    assert "by <bdi>manifest-service 0.1.0</bdi>" in text
    assert text.index("<dt>sha256</dt>") < text.index("<dt>blkhash-sha256</dt>")
    assert requests.get(local_api.url + link(text, "Block map"), timeout=30).text == "<bmap/>"
    assert requests.get(local_api.url + link(text, "JSON"), timeout=30).json()["image_id"] == IMAGE_ID


def test_a_refusal_is_explained(local_api: Client, local: Database) -> None:
    observe(local, observation())
    error = ImageRefused(RefusalCode.BACKING_FILE, "the disk builds on another file")
    task = claimed(local)
    local.transaction(lambda session: queue.finish_without(session, task, error))

    text = page(local_api, f"/images/{IMAGE_ID}")

    assert "Why it is refused" in text
    assert "The disk builds on another file" in text
    assert "Flatten it with <code>qemu-img convert</code> where" in text
    assert "<code>backing-file</code>" in text
    assert "backing-file" in page(local_api, "/images")


def test_every_reason_comes_with_a_next_step() -> None:
    assert all(words.advice(NEXT_STEPS[code]) for code in (*RefusalCode, *FailureCode))


def test_the_history_is_told_in_words(local_api: Client, local: Database) -> None:
    ready(local)
    observe(local, observation(size=1, updated_at=NOON.replace(hour=13)))
    report(local_api, verification(verdict="corrupt"))
    observe(local, observation(deleted=True, status="deleted", updated_at=NOON.replace(hour=14)))

    text = unescape(page(local_api, f"/images/{IMAGE_ID}"))
    told = re.findall(r"<li class=\"([a-z-]+)[^>]*><time", text)

    assert told[:3] == ["uploaded", "computation-started", "ready"]
    assert told[-2:] == ["verified", "deleted"]
    assert "Uploaded: 2,949,120 bytes." in text
    assert "Deleted in Glance." in text
    assert "Glance deleted this image" in text


def test_every_event_has_words(local_api: Client, local: Database) -> None:
    observe(local, observation())
    full = {"differs": {"size": {"before": 1, "now": 2}}, "reason": HOSTILE, "retry_in": 2.0, "worker": HOSTILE}
    for kind in EventKind:
        for detail in ({}, full):
            local.transaction(lambda session: history.add_event(session, IMAGE_ID, kind, NOON, detail))  # noqa: B023

    text = page(local_api, f"/images/{IMAGE_ID}")

    told = re.findall(r"<li class=\"[^>]*><time[^>]*>[^<]*</time> <div>(.*?)</div></li>", text, re.DOTALL)[1:]
    assert len(told) == 2 * len(EventKind)
    for sentence, kind in zip(told, (kind for kind in EventKind for _ in range(2)), strict=True):
        assert re.sub(r"<[^>]*>", "", sentence).strip() not in ("", kind), kind


def test_bytes_that_changed_under_one_id_are_told_loudly(local_api: Client, local: Database) -> None:
    ready(local, name=HOSTILE)
    observe(local, observation(name=HOSTILE, size=1, updated_at=NOON.replace(hour=13)))

    text = page(local_api, f"/images/{IMAGE_ID}")

    assert "The bytes of this image changed under the same id" in text
    assert "Glance promises that this cannot happen." in text
    assert re.search(r"size: <bdi><code>2949120</code></bdi> became <bdi><code>1</code></bdi>", text)
    start = page(local_api, "/images")
    assert "Bytes changed under the same image id" in start
    assert page(local_api, link(start, f"<bdi>{re.escape(ESCAPED)}"))
    assert "Bytes changed" not in page(local_api, "/images?status=ready")


def test_nodes_and_their_verdicts_are_on_the_page_of_an_image(local_api: Client, local: Database) -> None:
    ready(local)
    for number in range(30):
        verdict = "corrupt" if number == 7 else "match"
        differs = [[4096, 512]] if verdict == "corrupt" else []
        report(local_api, verification(verdict=verdict, differs=differs), node=f"node-{number:02}")

    text = page(local_api, f"/images/{IMAGE_ID}")

    assert re.findall(r">(node-\d\d)</a>", text)[:2] == ["node-07", "node-00"]
    assert "512 bytes from 4,096" in text
    assert len(re.findall(r">(node-\d\d)</a>", page(local_api, link(text, "All 30 files")))) == 30
    assert len(re.findall(r">(node-\d\d)</a>", page(local_api, link(text, "29")))) == 29


def test_the_fleet_begins_with_what_is_wrong(local_api: Client, local: Database) -> None:
    ready(local)
    unseen = str(uuid4())
    report(local_api, verification(), node="a-good")
    report(local_api, verification(verdict="corrupt", image_id=unseen, differs=[[0, 1]]), node="z-corrupt")
    report(local_api, verification(verdict="unknown", image_id=None), verification(file="/2"), node="y-unknown")

    text = page(local_api, "/fleet")

    nodes = text[text.index("<h2>Nodes</h2>") :]
    assert re.findall(r'<th scope="row"><a href="/fleet/files\?node=([^"]+)">', nodes) == [
        "z-corrupt",
        "y-unknown",
        "a-good",
    ]
    assert "1 byte from 0" in text
    assert f'{unseen}</code> <span class="quiet">not seen here' in text
    assert f'<a href="/images/{IMAGE_ID}">' in page(local_api, "/fleet/files?node=a-good")
    assert "No node reports a corrupt file." not in text


@pytest.mark.usefixtures("short")
def test_the_fleet_is_cut_into_pages_that_miss_nothing(local_api: Client) -> None:
    nodes = [f"node-{number:02}" for number in range(11)]
    wrong = {"node-10": "corrupt", "node-05": "corrupt", "node-08": "unknown"}
    for node in nodes:
        verdict = wrong.get(node, "match")
        report(local_api, verification(verdict=verdict), node=node)
    seen: list[str] = []
    following = "/fleet"
    for _ in range(3):
        text = page(local_api, following)
        body = text[text.index("<h2>Nodes</h2>") :]
        seen += re.findall(r'<th scope="row"><a href="/fleet/files\?node=([^"]+)">', body)
        following = link(text, "More nodes") if "More nodes" in text else ""

    first = ["node-05", "node-10", "node-08"]
    assert seen == first + [node for node in nodes if node not in first]
    assert following == ""


@pytest.mark.usefixtures("short")
def test_files_are_filtered_and_cut_into_pages(local_api: Client) -> None:
    for number in range(7):
        report(local_api, verification(verdict="corrupt"), verification(file="/2"), node=f"node-{number}")

    text = page(local_api, "/fleet/files?verdict=corrupt&node=&image=")
    second = page(local_api, link(text, "More files"))

    nodes = re.findall(r">(node-\d+)</a>", text) + re.findall(r">(node-\d+)</a>", second)
    assert nodes == [f"node-{number}" for number in range(7)]
    assert "<option selected>corrupt" in text
    assert len(re.findall(r">(node-\d+)</a>", page(local_api, "/fleet/files?node=node-3"))) == 2
    assert "No file has such a latest verdict." in page(local_api, "/fleet/files?node=nobody")
    assert "Name a node, a verdict or an image." in page(local_api, "/fleet/files")


def test_an_empty_fleet_says_what_to_do(local_api: Client) -> None:
    assert "<code>manifest-service scan --report DIR</code>" in page(local_api, "/fleet")


def test_what_goes_wrong_is_a_page_for_people(local_api: Client) -> None:
    for path, status, sentence in (
        (f"/images/{IMAGE_ID}", 404, "No such image"),
        ("/images/nowhere", 404, "Not Found"),
        ("/images/%00", 404, "Not Found"),
        ("/images?status=fine", 400, "Status: images are pending, computing"),
        (f"/images?older={IMAGE_ID}", 404, "an image that is not known"),
        ("/images?newer=x", 404, "an image that is not known"),
        ("/fleet?after=x", 404, "No part of the nodes begins from there"),
        ("/fleet/files?node=%3Cscript%3E", 400, "make a node's name"),
        ("/fleet/files?verdict=fine", 400, "Verdict: there are corrupt"),
        ("/fleet/files?image=1", 400, "an image id was expected"),
        (f"/fleet/files?node=n&marker={IMAGE_ID}", 404, "a report that is not known"),
        ("/fleet/files?node=n&marker=%00", 404, "No part of the files begins from there"),
        ("/nowhere", 404, "Not Found"),
    ):
        assert sentence in unescape(page(local_api, path, status)), path


def test_what_goes_wrong_is_a_document_for_programs(local_api: Client) -> None:
    for path in ("/nowhere", "/images?status=fine", "/fleet?after=x"):
        assert local_api.get(path).json()["code"]
    below = requests.get(f"{local_api.url}/v1/nowhere", headers=BROWSER, timeout=30)
    assert below.headers["Content-Type"] == "application/problem+json"


def test_an_image_that_is_announced_or_deleted_without_data_says_so(local_api: Client, local: Database) -> None:
    observe(local, observation(status="queued"))
    assert "An image without data" in page(local_api, f"/images/{IMAGE_ID}", 404)

    observe(local, observation(status="deleted", deleted=True, updated_at=NOON.replace(hour=13)))
    assert "Glance deleted it before anything was computed." in page(local_api, f"/images/{IMAGE_ID}", 410)


def test_what_pages_need_is_served_with_its_type_and_its_policy(local_api: Client) -> None:
    for name, kind in (("style.css", "text/css"), ("main.js", "javascript"), ("hash-worker.js", "javascript")):
        response = local_api.get(f"/pages/{name}")
        assert kind in response.headers["Content-Type"]
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert local_api.get("/static/style.css").status_code == 404


def test_no_link_is_broken(local_api: Client, local: Database) -> None:
    ready(local)
    observe(local, observation(size=1, updated_at=NOON.replace(hour=13)))
    finish(local, claimed(local))
    report(local_api, verification(verdict="corrupt"), verification(file="/2"))
    to_visit, seen = ["/images", "/fleet"], set[str]()

    while to_visit:
        path = to_visit.pop()
        response = local_api.get(path)
        assert response.status_code in (200, 202), path
        seen.add(path)
        if response.headers["Content-Type"].startswith("text/html"):
            links = re.findall(r'(?:href|src)="([^"]+)"', response.text)
            paths = {urljoin(path, unescape(each)).partition("#")[0] for each in links}
            to_visit += sorted(paths - seen - set(to_visit))

    assert {f"/images/{IMAGE_ID}", "/pages/style.css", "/v1/events?kind=immutability-violation"} <= seen


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/images", "/fleet", "/fleet/files"]),
    query=st.dictionaries(
        st.sampled_from(["q", "status", "older", "newer", "after", "node", "verdict", "image", "marker"]),
        st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from([IMAGE_ID, "ready", "corrupt", ":n"]),
        max_size=4,
    ),
)
@pytest.mark.slow
def test_garbage_never_breaks_a_page(local_api: Client, path: str, query: dict[str, str]) -> None:
    response = requests.get(local_api.url + path, params=query, headers=BROWSER, timeout=30, allow_redirects=False)

    assert response.status_code in (200, 303, 400, 404), response.text
