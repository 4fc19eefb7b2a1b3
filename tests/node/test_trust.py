"""`--trusted-key`: a file is compared with what a trusted key signed, whatever network and database say."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from manifest_service.attestations import envelope
from manifest_service.attestations.keys import PrivateKey, PublicKey
from manifest_service.attestations.statement import write_payload
from manifest_service.digests.digest import Digest
from manifest_service.manifests.models import ManifestBlockMap, ManifestDigest, ManifestStatement
from manifest_service.node.api_manifests import ApiClient, ApiManifests
from manifest_service.node.base_directory import cache_name_of, classify
from manifest_service.node.bundle import BundledManifests
from manifest_service.node.expectations import Manifests
from manifest_service.node.scanning import Scan
from manifest_service.node.trust import TrustedManifests
from manifest_service.node.verdicts import FileVerdict
from manifest_service.node.verification import Settings, Verifier
from tests.attestations.values import statement
from tests.builders import IMAGE_ID, claimed, computed, finish, new_key
from tests.node.conftest import Node
from tests.servers.service import EXECUTABLE

KEY = new_key()
OTHER_KEY = new_key()
CACHE_NAME = cache_name_of(IMAGE_ID)
DISK = b"what a guest sees".ljust(4096, b"\0")
OTHER_DISK = b"what an attacker put there".ljust(4096, b"\0")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def document(disk: bytes = DISK, **changes: Any) -> dict[str, Any]:
    """A manifest document, as an API or a bundle gives it: nobody has signed this part."""
    return {
        "image_id": IMAGE_ID,
        "cache_name": CACHE_NAME,
        "status": "ready",
        "virtual_size": len(disk),
        "digests": {"sha256": sha256(disk)},
        "links": {},
    } | changes


def signed(disk: bytes = DISK, key: PrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    """An envelope that says what a disk is."""
    values = {"virtual_size": len(disk), "digests": {"sha256": sha256(disk)}, "block_map_sha256": None} | changes
    return envelope.sign(write_payload(statement(**values)), key).as_json()


@dataclass
class Bundle:
    """A node whose manifests come from a file that anybody may have written."""

    folder: Path

    def manifests(self, *documents: dict[str, Any]) -> BundledManifests:
        path = self.folder / "manifests.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in documents))
        return BundledManifests(path)

    def check(self, given: dict[str, Any], disk: bytes = DISK, name: str = CACHE_NAME) -> FileVerdict:
        """The verdict on a file, where only KEY is trusted."""
        file = self.folder / name
        file.write_bytes(disk)
        return verdict_on(file, TrustedManifests(self.manifests(given), [KEY.public]))


def verdict_on(file: Path, manifests: Manifests, *, identify: bool = False) -> FileVerdict:
    verifier = Verifier(manifests, Settings(identify=identify), lambda done, total: None)
    (found,) = Scan(manifests, verifier).verdicts([classify(file)])
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path)


def test_what_a_trusted_key_signed_is_believed(bundle: Bundle) -> None:
    found = bundle.check(document(statement=signed()))

    assert (found.verdict, found.image_id, found.name) == ("match", IMAGE_ID, "q1")
    assert bundle.check(document(statement=signed()), OTHER_DISK).verdict == "corrupt"


def test_values_beside_the_statement_count_for_nothing(bundle: Bundle) -> None:
    lying = document(OTHER_DISK, statement=signed(), image_id=str(uuid4()), status="refused", code="backing-file")

    assert bundle.check(lying).verdict == "match"
    assert bundle.check(lying, OTHER_DISK).verdict == "corrupt"


@pytest.mark.parametrize(
    ("statement_of", "told"),
    [
        (lambda: signed(key=OTHER_KEY), "not signed by a trusted key; it says it is signed by"),
        (lambda: signed() | {"signatures": signed(key=OTHER_KEY)["signatures"]}, "not signed by a trusted key"),
        (lambda: signed() | {"payload": signed(OTHER_DISK)["payload"]}, "not signed by a trusted key"),
        (lambda: signed() | {"signatures": []}, "1 to 16 signatures"),
        (lambda: signed(image_id="5a4c2f3e-7a8e-4b54-9a2b-0a4b5c6d7e8f"), "of another image, 5a4c2f3e-7a8e"),
        (lambda: envelope.sign(b"{}", KEY).as_json(), "no in-toto Statement"),
        (lambda: "text", "should be a JSON object"),
        (lambda: 5, "should be a JSON object"),
        (lambda: [signed()], "should be a JSON object"),
        (lambda: {}, "signatures"),
    ],
)
def test_a_statement_that_does_not_verify_is_never_a_match_and_never_corrupt(
    bundle: Bundle, statement_of: Callable[[], object], told: str
) -> None:
    for disk in (DISK, OTHER_DISK):
        found = bundle.check(document(disk, statement=statement_of()), disk)
        assert found.verdict == "failed"
        assert "its manifest is not to be believed" in found.reason
        assert told in found.reason


def test_a_manifest_without_a_statement_is_unknown(bundle: Bundle) -> None:
    found = bundle.check(document())

    assert (found.verdict, "no signed statement" in found.reason) == ("unknown", True)
    assert bundle.check(document(status="pending", virtual_size=None, digests={})).verdict == "pending"
    refused = bundle.check(document(status="refused", code="backing-file", virtual_size=None, digests={}))
    assert (refused.verdict, "backing-file" in refused.reason) == ("unknown", True)


def test_of_a_manifest_without_a_statement_no_checksum_of_the_source_is_passed_on(bundle: Bundle) -> None:
    given = document(virtual_size=None, digests={}, source={"size": 1, "checksums": {"md5": "0" * 32}})
    found = TrustedManifests(bundle.manifests(given), [KEY.public]).find_by_cache_names([CACHE_NAME])[CACHE_NAME]

    assert (found.status, found.source_size, dict(found.source_checksums)) == ("ready", None, {})


def test_an_older_revision_is_believed_since_nobody_can_tell(bundle: Bundle) -> None:
    """What docs/node.md says that a node cannot know."""
    assert bundle.check(document(revision=2, statement=signed(revision=1))).verdict == "match"


def test_a_deleted_image_s_statement_still_counts(bundle: Bundle) -> None:
    found = bundle.check(document(status="deleted", statement=signed()))

    assert (found.verdict, "deleted in Glance" in found.reason) == ("match", True)


def test_a_file_of_any_name_is_found_by_what_was_signed(bundle: Bundle) -> None:
    file = bundle.folder / "disk.raw"
    file.write_bytes(DISK)

    def identified(given: dict[str, Any]) -> FileVerdict:
        return verdict_on(file, TrustedManifests(bundle.manifests(given), [KEY.public]), identify=True)

    assert identified(document(statement=signed())).verdict == "match"
    assert identified(document()).verdict == "unknown"
    assert identified(document(statement=signed(key=OTHER_KEY))).verdict == "failed"
    lying = identified(document(statement=signed(OTHER_DISK)))
    assert (lying.verdict, "does not have the digest" in lying.reason) == ("failed", True)


def test_without_trusted_keys_a_document_found_by_a_digest_must_have_it(bundle: Bundle) -> None:
    class Liar(BundledManifests):
        def find_by_digest(self, digest: Digest) -> Any:
            return next(iter(self.find_by_cache_names([CACHE_NAME]).values()))

    file = bundle.folder / "disk.raw"
    file.write_bytes(DISK)
    bundle.manifests(document(status="failed", code="manifest-tampered", virtual_size=None, digests={}))

    found = verdict_on(file, Liar(bundle.folder / "manifests.jsonl"), identify=True)

    assert (found.verdict, "edited in the database" in found.reason) == ("failed", True)


BLOCK_MAP = (
    '<?xml version="1.0"?><bmap version="2.0"><ImageSize>4096</ImageSize><BlockSize>4096</BlockSize>'
    "<BlocksCount>1</BlocksCount><MappedBlocksCount>1</MappedBlocksCount><ChecksumType>sha256</ChecksumType>"
    "<BmapFileChecksum>{checksum}</BmapFileChecksum><BlockMap><Range chksum='{digest}'>0</Range></BlockMap></bmap>"
)


class TestBesideAnApi:
    """With a real database and a real API; the attacker has both."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        path = tmp_path / "image.raw"
        path.write_bytes(DISK)
        return path

    def published(self, node: Node, image: Path, signer: PrivateKey | None = KEY) -> Path:
        image_id = node.publish(image, "raw", signer=signer)
        path = node.path_of(image_id)
        path.write_bytes(DISK)
        return path

    def check(self, node: Node, path: Path, *trusted: PublicKey) -> FileVerdict:
        manifests: Manifests = ApiManifests(ApiClient(node.api.url), with_statements=bool(trusted))
        return verdict_on(path, TrustedManifests(manifests, trusted) if trusted else manifests)

    def test_statements_come_with_a_lookup(self, node: Node, image: Path) -> None:
        path = self.published(node, image)

        assert self.check(node, path, KEY.public).verdict == "match"
        assert self.check(node, path, OTHER_KEY.public, KEY.public).verdict == "match"
        assert self.check(node, path, OTHER_KEY.public).verdict == "failed"

    def test_a_database_that_was_edited_fools_nobody(self, node: Node, image: Path) -> None:
        path = self.published(node, image)
        path.write_bytes(OTHER_DISK)
        with node.database.engine.begin() as connection:
            connection.execute(delete(ManifestDigest).where(ManifestDigest.algorithm != "sha256"))
            connection.execute(update(ManifestDigest).values(value=sha256(OTHER_DISK)))

        untrusting = self.check(node, path, KEY.public)
        trusting = self.check(node, path)

        assert untrusting.verdict == "corrupt"
        assert (trusting.verdict, "manifest-tampered" in trusting.reason) == ("failed", True)
        path.write_bytes(DISK)
        assert self.check(node, path, KEY.public).verdict == "match"

    def test_a_key_that_the_attacker_registers_is_not_trusted(self, node: Node, image: Path) -> None:
        path = self.published(node, image, OTHER_KEY)

        assert self.check(node, path).verdict == "match"
        assert self.check(node, path, KEY.public).verdict == "failed"

    def test_a_statement_that_was_taken_away_leaves_nothing_known(self, node: Node, image: Path) -> None:
        path = self.published(node, image)
        with node.database.engine.begin() as connection:
            connection.execute(delete(ManifestStatement))

        assert self.check(node, path).verdict == "match"
        assert self.check(node, path, KEY.public).verdict == "unknown"

    def test_another_block_map_is_not_used(self, node: Node, image: Path) -> None:
        path = self.published(node, image)
        path.write_bytes(OTHER_DISK)
        good = self.check(node, path, KEY.public)
        with node.database.engine.begin() as connection:
            document = connection.execute(select(ManifestBlockMap.document)).scalar_one()
            connection.execute(update(ManifestBlockMap).values(document=document + " "))

        bad = self.check(node, path, KEY.public)

        assert (good.verdict, good.evidence, good.differs) == ("corrupt", "block-map", ((0, 4096),))
        assert (bad.verdict, bad.differs, "where cannot be told" in bad.reason) == ("corrupt", (), True)

    def test_the_next_revision_is_believed_by_its_own_statement(self, node: Node, image: Path) -> None:
        path = self.published(node, image)
        image_id = str(self.check(node, path).image_id)
        node.api.post(f"/v1/manifests/{image_id}/computations")
        digests = {"sha256": sha256(OTHER_DISK)}
        finish(node.database, claimed(node.database), computed(virtual_size=4096, digests=digests), OTHER_KEY)

        assert self.check(node, path, KEY.public).verdict == "failed"
        assert self.check(node, path, KEY.public, OTHER_KEY.public).verdict == "corrupt"


def test_another_block_map_in_a_bundle_is_not_used(bundle: Bundle) -> None:
    good = BLOCK_MAP.format(checksum="0" * 64, digest=sha256(DISK))
    given = document(bmap=good + " ", statement=signed(block_map_sha256=sha256(good.encode())))

    found = bundle.check(given, OTHER_DISK)

    assert (found.verdict, "not the one that was signed" in found.reason) == ("corrupt", True)


class TestCommands:
    """As a node runs them, in processes of their own."""

    pytestmark = pytest.mark.slow

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(EXECUTABLE), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @pytest.fixture
    def file(self, bundle: Bundle) -> Path:
        bundle.manifests(document(statement=signed()))
        (bundle.folder / "key.pem").write_text(KEY.public.pem)
        (bundle.folder / "other.pem").write_text(OTHER_KEY.public.pem)
        path = bundle.folder / CACHE_NAME
        path.write_bytes(DISK)
        return path

    def test_keys_come_by_option_and_by_environment(self, file: Path) -> None:
        key, other = file.with_name("key.pem"), file.with_name("other.pem")
        given = ("verify", "--manifests", file.with_name("manifests.jsonl"))

        assert self.run(*given, "--trusted-key", other, "--trusted-key", key, file).returncode == 0
        assert self.run(*given, file, MANIFEST_SERVICE_TRUSTED_KEYS=f"{other}:{key}").returncode == 0
        assert self.run(*given, "--trusted-key", file.parent, file).returncode == 0
        done = self.run(*given, "--trusted-key", other, "--json", file, MANIFEST_SERVICE_TRUSTED_KEYS=str(key))
        assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "failed")

    def test_scan_takes_them_too(self, file: Path) -> None:
        base = file.parent / "_base"
        base.mkdir()
        file.rename(base / file.name)
        given = ("scan", "--json", "--manifests", file.with_name("manifests.jsonl"))

        assert self.run(*given, "--trusted-key", file.with_name("key.pem"), base).returncode == 0
        assert self.run(*given, "--trusted-key", file.with_name("other.pem"), base).returncode == 1

    @pytest.mark.parametrize("name", ["nothing.pem", "manifests.jsonl", "empty", "private.pem"])
    def test_a_key_that_is_none_is_wrong_usage(self, file: Path, name: str) -> None:
        (file.parent / "empty").mkdir()
        (file.parent / "private.pem").write_text("-----BEGIN PRIVATE KEY-----\n")

        done = self.run("verify", "--trusted-key", file.with_name(name), file)

        assert (done.returncode, "manifest-service: bad-key: " in done.stderr) == (2, True)

    def test_without_cryptography_the_option_says_what_to_install(self, file: Path) -> None:
        missing = file.parent / "missing" / "cryptography"
        missing.mkdir(parents=True)
        (missing / "__init__.py").write_text("raise ImportError('not here')\n")
        given = ("verify", "--manifests", file.with_name("manifests.jsonl"), file)

        done = self.run(*given, "--trusted-key", file.with_name("key.pem"), PYTHONPATH=str(missing.parent))

        assert (done.returncode, "pip install cryptography" in done.stderr) == (2, True)
        assert self.run(*given, PYTHONPATH=str(missing.parent)).returncode == 0
