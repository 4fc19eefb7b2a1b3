"""Who may call what: each call of the API by each role, as a table."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from uuid import uuid4

import pytest
from flask import Flask

from api import policies
from api.authorization import calls_of, require_rules
from manifest_service.manifests import members
from manifest_service.manifests.database import Database
from manifest_service.manifests.members import MemberObservation
from tests.api.keystone_app import OURS, THEIRS, ask, caller, make_app
from tests.builders import NOON, claim, computed, finish, new_key, observation, observe

OWN, PUBLIC, COMMUNITY, SHARED, HIDDEN, PRIVATE = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(6))

CALLERS = {
    "admin": caller("admin", "manager", "member", "reader", project=THEIRS),
    "system": caller("admin", "member", "reader", project=None, OpenStack_System_Scope="all"),
    "auditor": caller("auditor", project="3" * 32),
    "service": caller("service", project="3" * 32),
    "reader": caller("reader"),
    "member": caller("member", "reader"),
    "other": caller("swiftoperator"),
    "domain": caller("admin", project=None, X_Domain_Id="default"),
    "nobody": {},
    "expired": {"X-Auth-Token": "any", "X-Identity-Status": "Invalid", "X-Roles": "admin"},
}

TABLE = """
                                            admin system auditor service reader member other domain nobody expired
GET  /                                       200   200    200     200     200    200    200   200    200    200
GET  /healthcheck                            200   200    200     200     200    200    200   200    200    200
GET  /metrics                                200   200    200     403     403    403    403   403    401    401
GET  /v1/openapi.json                        200   200    200     200     200    200    200   200    200    200
GET  /v1/keys                                200   200    200     200     200    200    200   200    200    200
GET  /v1/keys/{key}                          200   200    200     200     200    200    200   200    200    200
GET  /v1/manifests                           200   200    200     403     200    200    403   403    401    401
GET  /v1/manifests/{own}                     200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{public}                  200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{community}               200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{shared}                  200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{hidden}                  200   200    200     200     404    404    403   403    401    401
GET  /v1/manifests/{private}                 200   200    200     200     404    404    403   403    401    401
HEAD /v1/manifests/{hidden}                  200   200    200     200     404    404    403   403    401    401
GET  /v1/manifests/{own}/bmap                200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{hidden}/bmap             200   200    200     200     404    404    403   403    401    401
GET  /v1/manifests/{own}/statement           200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{hidden}/statement        200   200    200     200     404    404    403   403    401    401
GET  /v1/manifests/{own}/revisions/1         200   200    200     200     200    200    403   403    401    401
GET  /v1/manifests/{hidden}/revisions/1      200   200    200     200     404    404    403   403    401    401
GET  /v1/manifests/{own}/revisions/1/statement     200 200 200    200     200    200    403   403    401    401
GET  /v1/manifests/{hidden}/revisions/1/statement  200 200 200    200     404    404    403   403    401    401
GET  /v1/manifests/{own}/history             200   200    200     403     200    200    403   403    401    401
GET  /v1/manifests/{hidden}/history          200   200    200     403     404    404    403   403    401    401
POST /v1/lookups                             200   200    200     200     200    200    403   403    401    401
GET  /v1/events                              200   200    200     403     200    200    403   403    401    401
GET  /v1/export                              200   200    200     403     403    403    403   403    401    401
POST /v1/verifications                       201   201    403     201     403    403    403   403    401    401
GET  /v1/verifications                       200   200    200     403     403    403    403   403    401    401
POST /v1/manifests/{own}/computations        202   202    403     403     403    403    403   403    401    401
POST /v1/manifests/{new}/computations        202   202    403     403     403    403    403   403    401    401
GET  /images                                 200   200    200     403     200    200    403   403    401    401
GET  /images/{own}                           200   200    200     403     200    200    403   403    401    401
GET  /images/{hidden}                        200   200    200     403     404    404    403   403    401    401
GET  /fleet                                  200   200    200     403     403    403    403   403    401    401
GET  /fleet/files                            200   200    200     403     403    403    403   403    401    401
GET  /pages/style.css                        200   200    200     200     200    200    200   200    200    200
GET  /nowhere                                404   404    404     404     404    404    404   404    404    404
OPTIONS /v1/export                           200   200    200     200     200    200    200   200    200    200
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
ROLES, ROWS = ROWS[0], ROWS[1:]


@pytest.fixture(scope="module")
def filled_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to be copied: a ready image of ours and five of another project, one of which is shared with us."""
    path = tmp_path_factory.mktemp("filled") / "filled.sqlite"
    copyfile(migrated_file, path)
    database = Database(f"sqlite:///{path}")
    fill(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def filled(filled_file: Path, tmp_path: Path) -> Iterator[Database]:
    copyfile(filled_file, tmp_path / "filled.sqlite")
    database = Database(f"sqlite:///{tmp_path}/filled.sqlite")
    yield database
    database.close()


def fill(local: Database) -> None:
    key = new_key()
    for image_id, owner, visibility in (
        (OWN, OURS, "private"),
        (PUBLIC, THEIRS, "public"),
        (COMMUNITY, THEIRS, "community"),
        (SHARED, THEIRS, "shared"),
        (HIDDEN, THEIRS, "shared"),
        (PRIVATE, THEIRS, "private"),
    ):
        observe(local, observation(image_id=image_id, owner=owner, visibility=visibility))
        task = claim(local)
        assert task is not None
        finish(local, task, computed(block_map="<bmap/>"), key)
    for image_id in (SHARED, PRIVATE):  # A member of an image that is not shared any more counts for nothing.
        seen = MemberObservation(image_id, OURS, is_member=True, changed_at=NOON, observed_at=NOON)
        local.transaction(lambda session: members.observe(session, seen))  # noqa: B023


@pytest.fixture
def app(filled: Database, tmp_path: Path) -> Flask:
    return make_app(filled, tmp_path)


def body_of(path: str) -> dict[str, object] | None:
    if path.endswith("lookups"):
        return {"image_ids": [OWN]}
    if path.endswith("verifications"):
        found = {
            "id": str(uuid4()),
            "file": "/f",
            "verdict": "match",
            "reason": "",
            "checked_at": "2026-11-23T12:00:00Z",
        }
        return {"node": "n1", "verifications": [found]}
    return {"image": {"disk_format": "raw"}} if "{new}" in path else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
@pytest.mark.slow
def test_each_call_by_each_role(row: list[str], app: Flask) -> None:
    method, template, *expected = row
    key = ask(app, "GET", "/v1/keys", {}).get_json()["keys"][0]["key_id"]
    found = []
    for role in ROLES:
        path = template.format(
            own=OWN,
            public=PUBLIC,
            community=COMMUNITY,
            shared=SHARED,
            hidden=HIDDEN,
            private=PRIVATE,
            new=uuid4(),
            key=key,
        )
        body = body_of(template) if method == "POST" else None
        response = ask(app, method, path, CALLERS[role], json=body)
        found.append(f"{response.status_code}")

    assert dict(zip(ROLES, found, strict=True)) == dict(zip(ROLES, expected, strict=True))


def test_every_route_is_in_the_table_and_has_a_policy(app: Flask) -> None:
    calls = calls_of(policies.list_rules())
    require_rules(app.url_map.iter_rules(), calls)
    tried = {(method, path) for method, path, *_ in ROWS}

    for method, path in calls:
        as_tried = path.replace("{key_id}", "{key}").replace("{revision}", "1").replace("{filename}", "style.css")
        names = ("{own}", "{new}") if "{image_id}" in path else ("",)
        assert any((method, as_tried.replace("{image_id}", name)) in tried for name in names), (method, path)


def test_a_route_without_a_policy_is_noticed(app: Flask) -> None:
    calls = dict(calls_of(policies.list_rules()))
    del calls["GET", "/v1/events"]

    with pytest.raises(LookupError, match="GET /v1/events"):
        require_rules(app.url_map.iter_rules(), calls)


def test_lists_and_lookups_leave_out_what_may_not_be_seen(app: Flask) -> None:
    everything = {OWN, PUBLIC, COMMUNITY, SHARED, HIDDEN, PRIVATE}
    ours = everything - {HIDDEN, PRIVATE}
    for role, visible in (("reader", ours), ("auditor", everything), ("service", everything)):
        body = {"image_ids": sorted(everything)}
        answer = ask(app, "POST", "/v1/lookups", CALLERS[role], json=body).get_json()
        assert {each["image_id"] for each in answer["manifests"]} == visible
        assert set(answer["unknown"]["image_ids"]) == everything - visible
    for role, visible in (("reader", ours), ("auditor", everything)):
        for query in ("", "?sort_key=changed_at&sort_dir=asc", "?status=ready&disk_format=qcow2", "?name=q1"):
            listed = ask(app, "GET", f"/v1/manifests{query}", CALLERS[role]).get_json()["manifests"]
            assert {each["image_id"] for each in listed} == visible, query
        events = ask(app, "GET", "/v1/events", CALLERS[role]).get_json()["events"]
        assert {each["image_id"] for each in events} == visible


def test_pages_of_a_list_follow_each_other_without_gaps(app: Flask) -> None:
    for order in ("sort_key=created_at&sort_dir=asc", "sort_key=changed_at", "sort_key=created_at"):
        found, path = [], f"/v1/manifests?limit=1&{order}"
        while path:
            page = ask(app, "GET", path, CALLERS["reader"]).get_json()
            found += [each["image_id"] for each in page["manifests"]]
            path = page["links"].get("next", "")
        assert sorted(found) == sorted({OWN, PUBLIC, COMMUNITY, SHARED})


def test_what_may_not_be_seen_is_answered_as_what_was_never_seen(app: Flask) -> None:
    absent = str(uuid4())
    for path in ("", "/bmap", "/statement", "/history", "/revisions/1", "/revisions/1/statement"):
        answers = []
        for image_id in (HIDDEN, absent):
            answer = ask(app, "GET", f"/v1/manifests/{image_id}{path}", CALLERS["reader"])
            problem = answer.get_json()
            problem.pop("request_id")
            answers.append((answer.status_code, str(problem).replace(image_id, "ID")))
        assert answers[0] == answers[1]
    digest = computed(block_map=None).digests["sha256"]
    marker = ask(app, "GET", f"/v1/manifests?marker={HIDDEN}", CALLERS["reader"])
    found = ask(app, "GET", f"/v1/manifests?digest=sha256:{digest}", CALLERS["reader"]).get_json()["manifests"]

    assert (marker.status_code, marker.get_json()["code"]) == (400, "unknown-marker")
    assert HIDDEN not in {each["image_id"] for each in found}


def test_a_digest_that_only_hidden_images_have_is_unknown(filled: Database, tmp_path: Path) -> None:
    image_id, digest = str(uuid4()), "ab" * 32
    observe(filled, observation(image_id=image_id, owner=THEIRS, visibility="private"))
    task = claim(filled)
    assert task is not None
    finish(filled, task, computed(digests={"sha256": digest}))
    app = make_app(filled, tmp_path)

    body = {"digests": [f"sha256:{digest}"]}
    ours = ask(app, "POST", "/v1/lookups", CALLERS["reader"], json=body).get_json()
    all_of_them = ask(app, "POST", "/v1/lookups", CALLERS["service"], json=body).get_json()

    assert ours == {"manifests": [], "unknown": {"image_ids": [], "cache_names": [], "digests": body["digests"]}}
    assert [each["image_id"] for each in all_of_them["manifests"]] == [image_id]


def test_the_names_of_nodes_are_for_those_who_may_list_verifications(app: Flask) -> None:
    found = {"id": str(uuid4()), "file": "/f", "verdict": "corrupt", "reason": "", "checked_at": "2026-11-23T12:00:00Z"}
    body = {"node": "secret-node", "verifications": [found | {"image_id": OWN}]}
    assert ask(app, "POST", "/v1/verifications", CALLERS["service"], json=body).status_code == 201

    paths = (f"/v1/manifests/{OWN}/history", "/v1/events", f"/images/{OWN}", "/images")
    for path in paths:
        assert "secret-node" not in ask(app, "GET", path, CALLERS["reader"]).get_data(as_text=True), path
    for path in (*paths[:3], "/v1/verifications", "/fleet"):
        assert "secret-node" in ask(app, "GET", path, CALLERS["auditor"]).get_data(as_text=True), path
    listed = ask(app, "GET", "/v1/verifications", CALLERS["auditor"]).get_json()["verifications"]
    assert listed[0]["reported_by"] == "a-user"


def test_a_page_leads_nobody_where_he_may_not_go(app: Flask) -> None:
    for role, leads in (("reader", False), ("auditor", True)):
        assert ('href="/fleet' in ask(app, "GET", f"/images/{OWN}", CALLERS[role]).get_data(as_text=True)) is leads


def test_a_policy_file_changes_who_may(filled: Database, tmp_path: Path) -> None:
    app = make_app(
        filled,
        tmp_path,
        '"metrics:show": "@"\n"computations:create": "rule:project_reader"\n"verifications:list": "@"\n',
    )

    assert ask(app, "GET", "/metrics", {}).status_code == 200
    calls = [f"/v1/manifests/{image_id}/computations" for image_id in (OWN, HIDDEN)]
    assert [ask(app, "POST", call, CALLERS["reader"]).status_code for call in calls] == [202, 404]
    announced = ask(app, "POST", calls[0], CALLERS["reader"], json={"image": {"disk_format": "raw"}})
    assert (announced.status_code, announced.get_json()["code"]) == (403, "forbidden")
    # What nodes found is still told of images alone that the caller may see.
    for image_id in (OWN, HIDDEN):
        found = {
            "id": str(uuid4()),
            "file": "/f",
            "verdict": "match",
            "reason": "",
            "checked_at": "2026-11-23T12:00:00Z",
        }
        body = {"node": "n1", "verifications": [found | {"image_id": image_id}]}
        ask(app, "POST", "/v1/verifications", CALLERS["service"], json=body)
    listed = ask(app, "GET", "/v1/verifications", CALLERS["reader"]).get_json()["verifications"]
    assert [each["image_id"] for each in listed] == [OWN]


def test_answers_are_kept_from_shared_caches(app: Flask) -> None:
    for path in (f"/v1/manifests/{OWN}", "/v1/manifests", f"/images/{OWN}", f"/v1/manifests/{HIDDEN}", "/v1/events"):
        response = ask(app, "GET", path, CALLERS["reader"])
        assert response.cache_control.private or response.cache_control.no_store, path
        assert response.cache_control.no_cache or response.cache_control.no_store or response.cache_control.max_age, (
            path
        )
        assert "X-Auth-Token" in response.headers["Vary"]


def test_a_refusal_says_where_to_authenticate(app: Flask) -> None:
    missing = ask(app, "GET", "/v1/manifests", CALLERS["nobody"])
    expired = ask(app, "GET", "/v1/manifests", CALLERS["expired"])
    forbidden = ask(app, "GET", "/v1/export", CALLERS["reader"])

    assert [each.get_json()["code"] for each in (missing, expired, forbidden)] == [
        "authentication-required",
        "invalid-token",
        "forbidden",
    ]
    for response in (missing, expired):
        assert response.headers["WWW-Authenticate"] == 'Keystone uri="http://keystone.example/v3"'
    assert "exports:create" in forbidden.get_json()["detail"]
    assert "next_step" in forbidden.get_json()
