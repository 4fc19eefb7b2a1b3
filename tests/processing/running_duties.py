"""Doing a duty once, in this process."""

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from manifest_service.manifests.database import Database
from manifest_service.processing.duties import Terms, Work, run_once

TERMS = Terms("host:1", timedelta(minutes=1))


def run(database: Database, work: Work, stop: threading.Event | None = None) -> Mapping[str, Any]:
    """Do it now; what came of it, or the error that it failed with."""
    done = run_once(database, work, TERMS, stop or threading.Event())
    assert done is not None, "somebody else is at it"
    if done.error is not None:
        raise done.error
    return done.outcome
