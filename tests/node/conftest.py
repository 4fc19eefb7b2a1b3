"""A node beside a service: an API over SQLite with real manifests, and a `_base` folder."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from manifest_service.attestations.keys import PrivateKey
from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.manifests.database import Database
from manifest_service.node.api_manifests import ApiClient, ApiManifests
from manifest_service.node.base_directory import cache_name_of, classify
from manifest_service.node.expectations import Manifests
from manifest_service.node.scanning import Scan
from manifest_service.node.verdicts import FileVerdict
from manifest_service.node.verification import Settings, Verifier
from manifest_service.processing.computation import ComputationSettings, compute_manifest
from tests.api.client import Client
from tests.builders import claimed, finish, observation, observe
from tests.stores import OneFileStore


@dataclass
class Node:
    """A compute node whose service knows the images that it is told to publish."""

    database: Database
    api: Client
    base: Path

    def publish(
        self,
        image: Path,
        disk_format: str = "qcow2",
        algorithms: Sequence[str] = ("sha256", "fsverity-sha256"),
        block_map_ranges: int = 1000,
        signer: PrivateKey | None = None,
    ) -> str:
        """Have the manifest of an image computed, and signed where there is a key for it, and give its id."""
        image_id = str(uuid.uuid4())
        data = image.read_bytes()
        checksums = {"md5": hashlib.md5(data).hexdigest()}
        observe(
            self.database,
            observation(
                image_id=image_id, name=image.name, disk_format=disk_format, size=len(data), checksums=checksums
            ),
        )
        task = claimed(self.database)
        settings = ComputationSettings(algorithms, DEFAULT_LIMITS, 60, str(self.base), block_map_ranges)
        found = compute_manifest(task, OneFileStore(image), settings, lambda done, total: None)
        finish(self.database, task, found, signer)
        return image_id

    def path_of(self, image_id: str, suffix: str = "") -> Path:
        return self.base / (cache_name_of(image_id) + suffix)

    @property
    def manifests(self) -> Manifests:
        return ApiManifests(ApiClient(self.api.url))

    def check(self, path: Path, settings: Settings | None = None) -> FileVerdict:
        """The verdict on one file."""
        verifier = Verifier(self.manifests, settings or Settings(), lambda done, total: None)
        (found,) = Scan(self.manifests, verifier).verdicts([classify(path)])
        return found


@pytest.fixture
def node(local: Database, local_api: Client, tmp_path: Path) -> Node:
    base = tmp_path / "_base"
    base.mkdir()
    return Node(local, local_api, base)
