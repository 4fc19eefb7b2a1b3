"""`GET /`, `/healthcheck`, `/metrics`: what this is, whether it can answer, and its figures."""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify, make_response, redirect, request
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import REGISTRY
from werkzeug import Response

from api.health import OK, HealthDocument, HealthQuery, check_health, check_liveness
from api.overview_metrics import OverviewCollector
from api.problems import ANY_ERROR
from api.schemas import VersionDocument, VersionsDocument
from api.service import ApiService
from manifest_service import __version__


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resources that say how the service is."""
    blueprint = APIBlueprint("versions", __name__, abp_responses=ANY_ERROR)
    registry = CollectorRegistry()
    registry.register(OverviewCollector(service.database))

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
        description="503 where this process cannot answer. What else is wrong with the service, its listeners and"
        " workers among it, is told in `problems`, and is no reason to ask another API. The broker is as the listeners"
        " see it. `live=true` asks only whether the process answers.",
    )
    def show_health(query: HealthQuery) -> Response:
        document = check_liveness() if query.live else check_health(service.database, service.expected)
        status = HTTPStatus.OK if document.status == OK else HTTPStatus.SERVICE_UNAVAILABLE
        response = jsonify(document.model_dump(mode="json"))
        response.status_code = status
        return response

    @blueprint.get("/metrics", doc_ui=False)
    def show_metrics() -> Response:
        response = make_response(generate_latest(REGISTRY) + generate_latest(registry))
        response.content_type = CONTENT_TYPE_LATEST
        return response

    return blueprint
