"""A row that holds no JSON, by somebody's hand or a damaged file, hides no other."""

import logging
from uuid import uuid4

import pytest
from sqlalchemy import text

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import IMAGE_ID, NOON, claimed, finish, new_key, observation, observe

OTHER_ID = "11111111-1111-4111-8111-111111111111"
BROKEN = ('{"md5": "d07', "5", "null", '{"md5": 5}')
"""No JSON, and JSON that we do not write."""


def damage(database: Database, table: str, column: str, value: str, image_id: str = IMAGE_ID) -> None:
    """Write past the service."""
    with database.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE {table} SET {column} = :value WHERE image_id = :image"),
            {"value": value, "image": image_id},
        )


def two_images(database: Database, *, signed: bool = False) -> None:
    for image_id in (IMAGE_ID, OTHER_ID):
        observe(database, observation(image_id=image_id))
        finish(database, claimed(database), signer=new_key() if signed else None)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.slow
def test_of_manifests(
    value: str, signed: bool, local_api: Client, local: Database, caplog: pytest.LogCaptureFixture
) -> None:
    two_images(local, signed=signed)
    damage(local, "manifests", "source_checksums", value)

    listed = {each["image_id"]: each for each in local_api.get("/v1/manifests").json()["manifests"]}

    assert listed[OTHER_ID]["status"] == "ready"
    assert (listed[IMAGE_ID]["status"], listed[IMAGE_ID]["code"]) == ("failed", "manifest-tampered")
    assert listed[IMAGE_ID]["digests"] == {}
    answer = local_api.get(f"/v1/manifests/{IMAGE_ID}")
    assert (answer.status_code, answer.json()["code"]) == (500, "manifest-tampered")
    for path in ("/images", "/v1/export"):
        assert local_api.get(path).status_code == 200
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert signed or any(IMAGE_ID in message for message in errors)


def test_of_warnings(local_api: Client, local: Database) -> None:
    two_images(local)
    damage(local, "manifests", "warnings", "[")

    codes = {each["image_id"]: each["code"] for each in local_api.get("/v1/manifests").json()["manifests"]}
    assert codes == {IMAGE_ID: "manifest-tampered", OTHER_ID: None}


def test_of_events(local_api: Client, local: Database) -> None:
    two_images(local)
    damage(local, "events", "detail", "{")

    events = local_api.get("/v1/events").json()["events"]

    assert {each["detail"].get("code") for each in events if each["image_id"] == IMAGE_ID} == {"unreadable"}
    assert {each["detail"].get("code") for each in events if each["image_id"] == OTHER_ID} == {None}
    assert local_api.get(f"/v1/manifests/{IMAGE_ID}/history").status_code == 200
    assert local_api.get(f"/images/{IMAGE_ID}").status_code == 200


def test_of_verifications(local_api: Client, local: Database) -> None:
    two_images(local)
    report = {"verdict": "corrupt", "reason": "it differs", "differs": [[0, 512]], "checked_at": NOON.isoformat()}
    both = [
        {"id": str(uuid4()), "file": f"/{image_id}", "image_id": image_id, **report}
        for image_id in (IMAGE_ID, OTHER_ID)
    ]
    assert local_api.post("/v1/verifications", json={"node": "n1", "verifications": both}).status_code == 201
    damage(local, "verifications", "differs", "[[0")

    found = local_api.get("/v1/verifications").json()["verifications"]

    assert {each["image_id"]: each["differs"] for each in found} == {IMAGE_ID: [], OTHER_ID: [[0, 512]]}
    assert {each["verdict"] for each in found} == {"corrupt"}
    assert local_api.get("/fleet").status_code == 200
