"""`GET /v1/events`: the history of all images, for who watches over them."""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify
from flask_openapi3.blueprint import APIBlueprint
from werkzeug import Response

from api.authorization import seen_by
from api.event_schemas import EventDocument, EventList, EventsQuery
from api.pagination import page_links
from api.problems import ANY_ERROR
from api.service import ApiService
from manifest_service.manifests import history


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resource that lists events."""
    blueprint = APIBlueprint("events", __name__, url_prefix="/v1/events", abp_responses=ANY_ERROR)

    @blueprint.get(
        "",
        responses={HTTPStatus.OK: EventList},
        summary="List and filter what happened to images",
        description="The latest come first. `kind=immutability-violation` finds images whose bytes, size or checksum"
        " changed under the same id.",
    )
    def list_events(query: EventsQuery) -> Response:
        limit = min(query.limit, service.page_limit)
        wanted = query.as_filter()
        events = service.database.transaction(
            lambda session: history.list_events(session, seen_by(nodes=True), wanted, limit, query.marker)
        )
        page = EventList(
            events=[EventDocument.of(event) for event in events],
            links=page_links([str(event.number) for event in events], limit),
        )
        return jsonify(page.model_dump(mode="json"))

    return blueprint
