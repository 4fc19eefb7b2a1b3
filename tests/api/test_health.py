"""/healthcheck: 503 where this API cannot answer; what else is wrong is told, and is no 503."""

from collections.abc import Callable

from sqlalchemy import text

from manifest_service.manifests import processes, schema
from manifest_service.manifests.database import Database
from manifest_service.manifests.processes import ProcessRecord
from tests.api.client import Client
from tests.servers.postgresql import PostgreSQL


def test_what_is_wrong_elsewhere_is_told_and_is_no_503(api: Client) -> None:
    response = api.get("/healthcheck")

    document = response.json()
    assert (response.status_code, document["status"], document["database"]) == (200, "ok", "ok")
    assert (document["checks"]["workers"], document["checks"]["queue"]) == ("problem", "ok")
    (problem,) = [problem for problem in document["problems"] if problem["code"] == "no-worker"]
    assert (problem["check"], problem["severity"]) == ("workers", "problem")
    assert problem["told"]
    assert problem["next_step"]


def test_a_service_that_is_well(local: Database, local_api: Client) -> None:
    parts: dict[str, dict[str, object]] = {
        "listener": {"listening": True, "broker": "ok"},
        "worker": {"workers": 1, "signing_key": None},
    }
    local.transaction(lambda session: processes.renew(session, ProcessRecord("p1", "serve", "host", 1, "0", parts)))

    document = local_api.get("/healthcheck").json()

    assert document["problems"] == []
    assert set(document["checks"].values()) == {"ok"}


def test_another_schema_is_a_503_with_the_next_step(local: Database, local_api: Client) -> None:
    with local.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0001'"))

    response = local_api.get("/healthcheck")

    document = response.json()
    assert (response.status_code, document["status"], document["database"]) == (503, "unhealthy", "schema-not-current")
    assert document["checks"] == {"database": "problem"}
    assert "manifest-service db upgrade" in document["problems"][0]["next_step"]


def test_a_newer_schema_that_fits_is_no_503(local: Database, local_api: Client) -> None:
    """While an upgrade is under way: otherwise all APIs of the older version would be taken away at once."""
    with local.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))

    response = local_api.get("/healthcheck")

    assert (response.status_code, response.json()["checks"]["database"]) == (200, "ok")


def test_a_database_that_is_away_is_a_503_and_the_process_lives(
    postgresql: PostgreSQL, serve_api: Callable[..., Client]
) -> None:
    url = postgresql.create_database()
    database = Database(url)
    schema.upgrade(database)
    api = serve_api(database)
    postgresql.kill()
    try:
        ready, alive = api.get("/healthcheck"), api.get("/healthcheck?live=true")
        figures = api.get("/metrics").text
    finally:
        postgresql.start()
    assert (ready.status_code, ready.json()["problems"][0]["code"]) == (503, "database-away")
    assert (alive.status_code, alive.json()["database"]) == (200, "not-asked")
    assert "manifest_service_database_answers 0.0" in figures
    database.close()
    postgresql.drop(url)


def test_a_parameter_that_does_not_exist_is_an_error(local_api: Client) -> None:
    assert local_api.get("/healthcheck?deep=true").status_code == 400
