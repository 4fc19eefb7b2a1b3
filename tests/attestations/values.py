"""A statement that is complete, and different only where a test says so."""

from dataclasses import replace
from typing import Any

from manifest_service.attestations.statement import DiskStatement, GlanceRecord
from tests.builders import IMAGE_ID, MD5, NOON, SHA256


def statement(**changes: Any) -> DiskStatement:
    stated = DiskStatement(
        image_id=IMAGE_ID,
        revision=1,
        disk_format="qcow2",
        virtual_size=25165824,
        digests={"sha256": SHA256, "fsverity-sha256": "0" * 64},
        source_size=2949120,
        source_digests={"md5": MD5},
        computed_at=NOON,
        computed_by="manifest-service 0.1.0",
        attested_at=NOON,
        glance=GlanceRecord("q1", "tenant", "shared", "bare"),
        block_map_sha256="1" * 64,
        warnings=("odd: ü 🐧",),
    )
    return replace(stated, **changes)
