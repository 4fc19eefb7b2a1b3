"""`/v1/verifications`: nodes report what they found of their files, auditors see the fleet."""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify
from flask_openapi3.blueprint import APIBlueprint
from werkzeug import Response

from api.authorization import caller, seen_by
from api.pagination import page_links
from api.problems import ANY_ERROR, ProblemError
from api.service import ApiService
from api.verification_schemas import (
    RecordedDocument,
    VerificationDocument,
    VerificationList,
    VerificationsQuery,
    VerificationsRequest,
)
from manifest_service.manifests import verifications


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resource that takes in verdicts and gives them out again."""
    blueprint = APIBlueprint("verifications", __name__, url_prefix="/v1/verifications", abp_responses=ANY_ERROR)

    @blueprint.post(
        "",
        responses={HTTPStatus.CREATED: RecordedDocument},
        summary="Report what a node found of its files",
        description="1 to 1,000 verifications in one call, but no more than fit into [api] max_body (262,144 bytes by"
        " default): send smaller batches. Sending one again, or late, does no harm.",
    )
    def record_verifications(body: VerificationsRequest) -> Response:
        reports = [reported.as_report() for reported in body.verifications]
        recorded = service.database.transaction(
            lambda session: verifications.record(session, body.node, reports, caller().user_id)
        )
        document = RecordedDocument(recorded=recorded, known=len(reports) - recorded)
        response = jsonify(document.model_dump(mode="json"))
        response.status_code = HTTPStatus.CREATED
        return response

    @blueprint.get(
        "",
        responses={HTTPStatus.OK: VerificationList},
        summary="List and filter what nodes reported",
        description="Those received last come first.",
    )
    def list_verifications(query: VerificationsQuery) -> Response:
        limit = min(query.limit, service.page_limit)
        marker = None if query.marker is None else str(query.marker)
        wanted = query.as_filter()
        try:
            records = service.database.transaction(
                lambda session: verifications.list_page(session, seen_by(nodes=True), wanted, limit, marker)
            )
        except verifications.UnknownMarker:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "unknown-marker", f"the marker {marker} is no verification that is recorded"
            ) from None
        page = VerificationList(
            verifications=[VerificationDocument.of(record) for record in records],
            links=page_links([record.report.report_id for record in records], limit),
        )
        return jsonify(page.model_dump(mode="json"))

    return blueprint
