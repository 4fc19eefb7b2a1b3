"""What is served, as the image's own row says it, while several write at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import Image
from manifest_service.processing import queue
from tests.builders import NOON, claimed, computed, observation, observe
from tests.servers.postgresql import PostgreSQL
from tests.waiting import eventually

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def test_a_late_notification_that_waits_for_a_worker_s_commit_leaves_its_state_served(postgresql: PostgreSQL) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    observe(database, observation(observed_at=NOON + timedelta(seconds=1)))
    task = claimed(database)

    def is_waited_for() -> bool:
        with database.engine.connect() as connection:
            return bool(connection.execute(_WAITING).scalar_one())

    with ThreadPoolExecutor(1) as others:
        with Session(database.engine) as session, session.begin():
            queue.finish_ready(session, task, computed(), "manifest-service 0.1.0")
            late = others.submit(observe, database, observation())
            eventually(is_waited_for)
        late.result(30)

    status = database.transaction(lambda session: session.scalars(select(Image.status)).one())
    assert status == "ready"
    database.close()
    postgresql.drop(url)
