"""`GET /`, `/healthcheck`, `/metrics`: what this is, whether it can answer, and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus

from flask import jsonify, make_response, redirect, request
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import REGISTRY, Collector
from sqlalchemy.orm import Session
from werkzeug import Response

from api.duty_metrics import DutyCollector
from api.problems import ANY_ERROR
from api.schemas import HealthDocument, VersionDocument, VersionsDocument
from api.service import ApiService
from manifest_service import __version__
from manifest_service.manifests import history, queries, schema
from manifest_service.manifests.database import Database, DatabaseAway, database_now
from manifest_service.manifests.states import EventKind
from manifest_service.processing import queue


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resources that say how the service is."""
    blueprint = APIBlueprint("versions", __name__, abp_responses=ANY_ERROR)
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(service.database))
    registry.register(DutyCollector(service.database))

    @blueprint.get("/", responses={HTTPStatus.OK: VersionsDocument}, summary="The versions of the API")
    def show_versions() -> Response:
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return redirect("/images", HTTPStatus.SEE_OTHER)
        links = [{"rel": "self", "href": "/v1/manifests"}, {"rel": "describedby", "href": "/v1/openapi.json"}]
        document = VersionsDocument(
            versions=[VersionDocument(id="v1", status="CURRENT", links=links)],
            service={"name": "manifest-service", "version": __version__},
        )
        return jsonify(document.model_dump(mode="json"))

    @blueprint.get(
        "/healthcheck",
        responses={HTTPStatus.OK: HealthDocument, HTTPStatus.SERVICE_UNAVAILABLE: HealthDocument},
        summary="Whether the service can answer",
        description="Looks at the database and the queue. The broker is the listeners' business and not looked at.",
    )
    def show_health() -> Response:
        document = check_health(service.database)
        status = HTTPStatus.OK if document.status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        response = jsonify(document.model_dump(mode="json"))
        response.status_code = status
        return response

    @blueprint.get("/metrics", doc_ui=False)
    def show_metrics() -> Response:
        response = make_response(generate_latest(REGISTRY) + generate_latest(registry))
        response.content_type = CONTENT_TYPE_LATEST
        return response

    return blueprint


def check_health(database: Database) -> HealthDocument:
    """Ask the database for its schema, and for the queue's length and age."""
    try:
        if schema.current_version(database) != schema.newest_version():
            return HealthDocument(
                status="unhealthy", database="schema-not-current", queue_length=None, oldest_entry_age=None
            )
        length, age = _queue_figures(database)
    except Exception as error:
        # Whatever keeps the database from answering is what this call is asked for.
        name = "away" if isinstance(error, DatabaseAway) else type(error).__name__
        return HealthDocument(status="unhealthy", database=name, queue_length=None, oldest_entry_age=None)
    return HealthDocument(status="ok", database="ok", queue_length=length, oldest_entry_age=age)


class DatabaseCollector(Collector):
    """Reads the figures that the database holds when they are scraped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """The queue's length and the age of its oldest entry, and findings; nothing while the database is away."""
        try:
            length, age = _queue_figures(self._database)
            violations = self._database.transaction(
                lambda session: history.count(session, EventKind.IMMUTABILITY_VIOLATION)
            )
        except DatabaseAway:
            return
        yield GaugeMetricFamily("manifest_service_queue_length", "Manifests that are pending or computing.", length)
        yield GaugeMetricFamily(
            "manifest_service_queue_oldest_age_seconds", "Time since the oldest entry came in.", age or 0.0
        )
        yield CounterMetricFamily(
            "manifest_service_immutability_violations",
            "Images whose bytes, size or checksum were found to have changed under the same id, each time it was.",
            violations,
        )


def _queue_figures(database: Database) -> tuple[int, float | None]:
    def read(session: Session) -> tuple[int, datetime | None, datetime]:
        return queue.length(session), queries.oldest_waiting(session), database_now(session)

    length, oldest, now = database.transaction(read)
    return length, None if oldest is None else max(0.0, (now - oldest.astimezone(UTC)).total_seconds())
