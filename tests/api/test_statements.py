"""`…/statement` and `/v1/keys`: what is served is what was signed, and others can verify it."""

import hashlib
import json
from datetime import timedelta
from uuid import uuid4

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import IMAGE_ID, MD5, NOON, SHA256, claimed, computed, finish, new_key, observation, observe

HERE = f"/v1/manifests/{IMAGE_ID}"
OLD_KEY = new_key()
KEY = new_key()


def verify_independently(api: Client, path: str) -> dict[str, object]:
    """Fetch an envelope and the keys, have securesystemslib verify it, and give the predicate."""
    envelope = Envelope.from_dict(json.loads(api.get(path).text))
    keys: list[Key] = [
        SSlibKey.from_crypto(load_pem_public_key(key["public_key"].encode()), keyid=key["key_id"])
        for key in api.get("/v1/keys").json()["keys"]
    ]
    envelope.verify(keys, 1)
    predicate: dict[str, object] = json.loads(envelope.payload)["predicate"]
    return predicate


def test_a_ready_manifest_s_statement_says_what_it_says(api: Client, database: Database) -> None:
    observe(database, observation())
    found = computed(block_map="<bmap/>", warnings=("odd",))
    finish(database, claimed(database), found, KEY)
    manifest = api.get(HERE).json()

    predicate = verify_independently(api, manifest["links"]["statement"])

    for member in ("image_id", "revision", "cache_name", "disk_format", "virtual_size", "warnings", "computed_by"):
        assert predicate[member] == manifest[member]
    assert predicate["source"] == {"size": 2949120, "digests": {"md5": MD5}}
    assert predicate["computed_at"] == manifest["computed_at"] == predicate["attested_at"]
    assert predicate["glance"] == {
        "name": "q1",
        "owner": None,
        "visibility": "shared",
        "container_format": "bare",
    }
    assert predicate["block_map"] == {"sha256": hashlib.sha256(b"<bmap/>").hexdigest()}
    assert predicate["basis"] == "computation"


def test_a_statement_can_be_kept_and_asked_for_again(local_api: Client, local: Database) -> None:
    observe(local, observation())
    finish(local, claimed(local), signer=KEY)

    answer = local_api.get(f"{HERE}/statement")

    assert answer.headers["Content-Type"] == "application/vnd.dsse.envelope.v1+json"
    assert "max-age=86400" in answer.headers["Cache-Control"]
    assert not answer.headers["ETag"].startswith("W/")
    again = local_api.get(f"{HERE}/statement", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")
    assert local_api.get(f"{HERE}/revisions/1/statement").text == answer.text


def test_what_has_no_statement_says_so(local_api: Client, local: Database) -> None:
    assert local_api.get(f"{HERE}/statement").json()["code"] == "not-found"
    observe(local, observation())
    assert local_api.get(f"{HERE}/statement").json()["code"] == "no-statement"
    finish(local, claimed(local))

    answer = local_api.get(f"{HERE}/statement")

    assert (answer.status_code, answer.json()["code"]) == (404, "no-statement")
    assert "signing_key" in answer.json()["next_step"]
    assert local_api.get(f"{HERE}/revisions/2/statement").json()["code"] == "not-found"
    assert "statement" not in local_api.get(HERE).json()["links"]


def test_a_deleted_image_s_statement_is_kept_with_its_revision(local_api: Client, local: Database) -> None:
    observe(local, observation())
    finish(local, claimed(local), signer=KEY)
    observe(local, observation(status="deleted", deleted=True, observed_at=NOON + timedelta(hours=1)))

    assert local_api.get(f"{HERE}/statement").status_code == 410
    assert verify_independently(local_api, f"{HERE}/revisions/1/statement")["virtual_size"] == 25165824


def test_after_a_rotation_old_statements_stay_verifiable(api: Client, database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database), computed(virtual_size=512), OLD_KEY)
    api.post(f"{HERE}/computations")
    finish(database, claimed(database), computed(virtual_size=1024), KEY)

    keys = api.get("/v1/keys").json()["keys"]

    assert [key["key_id"] for key in keys] == [OLD_KEY.public.key_id, KEY.public.key_id]
    assert verify_independently(api, f"{HERE}/revisions/1/statement")["virtual_size"] == 512
    assert verify_independently(api, f"{HERE}/statement")["virtual_size"] == 1024
    assert api.get(f"{HERE}/revisions/1").json()["status"] == "ready"


def test_a_key_is_served_as_json_and_as_pem(local_api: Client, local: Database) -> None:
    assert local_api.get("/v1/keys").json() == {"keys": []}
    observe(local, observation())
    finish(local, claimed(local), signer=KEY)
    path = f"/v1/keys/{KEY.public.key_id}"

    assert local_api.get(path).json() == {
        "key_id": KEY.public.key_id,
        "algorithm": "ed25519",
        "public_key": KEY.public.pem,
        "first_used_at": local_api.get(HERE).json()["computed_at"],
        "imported_at": None,
        "links": {"self": path},
    }
    pem = local_api.get(path, headers={"Accept": "application/x-pem-file"})
    assert (pem.headers["Content-Type"], pem.text) == ("application/x-pem-file", KEY.public.pem)
    assert "Accept" in pem.headers["Vary"]
    assert local_api.get(path, headers={"Accept": "image/png"}).status_code == 406
    assert local_api.get(f"/v1/keys/{OLD_KEY.public.key_id}").json()["code"] == "not-found"
    assert local_api.get("/v1/keys/../etc").status_code in (400, 404)
    assert local_api.get(f"/v1/keys/{'G' * 64}").status_code == 400


def test_a_lookup_brings_statements_where_it_is_asked_to(api: Client, database: Database) -> None:
    observe(database, observation())
    finish(database, claimed(database), signer=KEY)
    unsigned = str(uuid4())
    observe(database, observation(image_id=unsigned))
    finish(database, claimed(database), computed(digests={"sha256": "0" * 64}))

    plain = api.post("/v1/lookups", json={"image_ids": [IMAGE_ID]}).json()["manifests"]
    wanted = {"image_ids": [unsigned], "digests": [f"sha256:{SHA256}"], "statements": True}
    found = {each["image_id"]: each for each in api.post("/v1/lookups", json=wanted).json()["manifests"]}

    assert "statement" not in plain[0]
    assert found[unsigned]["statement"] is None
    assert found[IMAGE_ID]["statement"] == json.loads(api.get(f"{HERE}/statement").text)
    assert {**plain[0], "statement": found[IMAGE_ID]["statement"]} == found[IMAGE_ID]
    assert api.post("/v1/lookups", json=wanted | {"statements": "often"}).status_code == 400
