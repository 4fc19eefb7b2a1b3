"""What the 2012 question asks about, done to a real Glance: data replaced in its store, a checksum in its database."""

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from manifest_service.manifests import history
from manifest_service.manifests.history import EventFilter
from manifest_service.manifests.states import EventKind
from manifest_service.manifests.visibility import EVERYTHING
from tests.flows.cloud import Cloud, cloud_of
from tests.flows.test_without_notifications import SILENT
from tests.servers.glance import Glance
from tests.servers.service import EXECUTABLE
from tests.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

NO_RECONCILING = {"reconcile": {"interval": "0"}, "scrub": {"interval": "1"}}


def changes(cloud: Cloud) -> dict[str | None, tuple[object, ...]]:
    """Image → where it changed, and in what."""
    wanted = EventFilter(kind=EventKind.SOURCE_CHANGED)
    events = cloud.database.transaction(lambda session: history.list_events(session, EVERYTHING, wanted, 100))
    assert len({event.image_id for event in events}) == len(events)  # each is told once
    return {event.image_id: (event.detail["place"], *event.detail["differs"]) for event in events}  # type: ignore[misc]


def _scrub(cloud: Cloud) -> int:
    """The exit code."""
    options = [part for file in cloud.config_files for part in ("--config-file", str(file))]
    return subprocess.run([EXECUTABLE, "scrub", *options], check=False).returncode


def edit(glance: Glance, image_id: str, column: str, value: str) -> None:
    """Edit Glance's database by hand."""
    with closing(sqlite3.connect(glance.folder / "glance.sqlite", timeout=30)) as database, database:
        database.execute(f"UPDATE images SET {column} = ? WHERE id = ?", (value, image_id))


def test_what_was_changed_behind_glance_s_back_is_found(glance_factory: Callable[..., Glance], tmp_path: Path) -> None:
    glance = glance_factory(settings=SILENT)
    with cloud_of(glance, f"sqlite:///{tmp_path}/ours.sqlite", tmp_path, NO_RECONCILING) as cloud:
        untouched, overwritten, md5_edited, sha512_edited = (cloud.upload() for _ in range(4))
        cloud.call("backfill")
        with cloud.worker("worker"):
            eventually(lambda: cloud.statuses([untouched, overwritten, md5_edited, sha512_edited]) == {"ready"})
            with (glance.store_folder() / overwritten).open("r+b") as file:
                file.seek(1000)
                file.write(b"somebody was here")
            edit(glance, md5_edited, "checksum", "00" * 16)
            edit(glance, sha512_edited, "os_hash_value", "00" * 64)
            eventually(lambda: len(changes(cloud)) == 3)
        # Nothing new. The worker may have left without giving the duty back: its lease has to run out then.
        eventually(lambda: _scrub(cloud) == 0)

        found = changes(cloud)
        assert found.pop(overwritten)[0] == "store"
        assert found == {md5_edited: ("glance", "md5"), sha512_edited: ("glance", "sha512")}
        assert cloud.statuses([untouched, overwritten, md5_edited, sha512_edited]) == {"ready"}
        assert cloud.call("scrub", "--image-id", untouched).stdout.startswith("images:     1\n")
