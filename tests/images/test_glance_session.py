"""Asking Glance through keystoneauth."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from manifest_service import config
from manifest_service.images.glance_session import make_glance_api
from tests.builders import IMAGE_ID
from tests.images.small_glance import SmallGlance


def test_a_clock_that_is_set_back_delays_no_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keystoneauth's adapter would wait until the time of day at which it was made, as a run of faults has shown."""

    def sleep(seconds: float) -> None:
        raise AssertionError(f"it would wait for {seconds} seconds")

    with SmallGlance([]) as server:
        file = tmp_path / "manifest-service.conf"
        file.write_text(server.config)
        glance = make_glance_api(config.load([str(file)]))
        assert glance is not None
        monkeypatch.setattr("keystoneauth1._fair_semaphore.time", SimpleNamespace(time=lambda: 0.0, sleep=sleep))

        assert glance.show(IMAGE_ID).status == "active"
