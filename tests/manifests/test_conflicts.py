"""Transactions that meet others: what becomes of those that never get through."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from manifest_service.manifests import database as database_module
from manifest_service.manifests.database import Database, DatabaseAway
from manifest_service.manifests.models import Image
from tests.builders import observation, observe


def test_a_conflict_that_outlasts_all_runs_may_be_tried_again_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CONFLICT_RETRIES", 2)
    observe(database, observation())
    runs = 0

    def always_late(session: Session) -> None:
        nonlocal runs
        runs += 1
        image = session.scalars(select(Image)).one()
        with Session(database.engine) as other:
            other.scalars(select(Image)).one().name = f"before run {runs}"
            other.commit()
        image.name = "never written"

    with pytest.raises(DatabaseAway):
        database.transaction(always_late)

    assert runs == 3
