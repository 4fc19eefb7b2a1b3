"""No statement of a request takes longer than it may, and the connection is as good as before."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from manifest_service.manifests.database import Database, StatementTooSlow
from tests.api.client import Client

ENDLESS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
    "postgresql": "SELECT pg_sleep(300)",
    "mysql": "SELECT count(md5(a.seq + b.seq)) FROM seq_1_to_1000000 a, seq_1_to_1000000 b",
}


@pytest.fixture
def limited(database: Database) -> Iterator[Database]:
    limited = Database(database.url.render_as_string(hide_password=False), statement_time=5.0)
    yield limited
    limited.close()


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_ended(limited: Database) -> None:
    endless = text(ENDLESS[limited.engine.dialect.name])
    quick = text("SELECT 1")

    for _ in range(2):
        with pytest.raises(StatementTooSlow):
            limited.transaction(lambda session: session.execute(endless).all())
        assert limited.transaction(lambda session: session.execute(quick).scalar()) == 1
        with pytest.raises(StatementTooSlow):
            limited.read(lambda connection: connection.execute(endless).all())
        assert limited.read(lambda connection: connection.execute(quick).scalar()) == 1


def test_who_asks_for_too_much_is_told_so(
    limited: Database, serve_api: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = text(ENDLESS[limited.engine.dialect.name])
    monkeypatch.setattr("manifest_service.manifests.queries.list_current", lambda session, *_: session.execute(endless))
    api = serve_api(limited)

    answer = api.get("/v1/manifests")

    assert (answer.status_code, answer.json()["code"]) == (503, "too-slow")
    assert int(answer.headers["Retry-After"]) > 0
    assert api.get("/healthcheck").json()["database"] == "ok"
