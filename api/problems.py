"""Errors as RFC 9457 problem documents, each with a stable `code`, the request id, and the next step to take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, json, make_response
from flask_openapi3.types import ResponseDict
from oslo_log import log
from pydantic import Field, ValidationError
from werkzeug.exceptions import HTTPException

from api.access import REQUEST_ID_HEADER
from api.answers import Answer
from manifest_service.errors import ManifestServiceError, UsageError
from manifest_service.manifests.database import DatabaseAway, StatementTooSlow
from manifest_service.manifests.intake import ImageDeleted, ImageUnknown

LOG = log.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = "5"
"""Seconds; a database or a Keystone that restarts is back within about that."""
MAX_DETAIL = 300
"""Characters of a detail; some repeat a little of what the caller sent."""

_CODES = {
    HTTPStatus.BAD_REQUEST: "bad-request",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.NOT_ACCEPTABLE: "not-acceptable",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body-too-large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported-media-type",
}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ProblemDetail(Answer):
    """One thing that is wrong with a request, and where."""

    where: str = Field(description="Path into the request, as `body.image_ids.3`.")
    message: str


class Problem(Answer):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable: scripts may hold on to it.")
    request_id: str
    next_step: str | None = None
    errors: list[ProblemDetail] | None = None


ANY_ERROR: ResponseDict = {"4XX": Problem, "5XX": Problem}
"""For the OpenAPI description of every resource."""


class ProblemError(Exception):
    """Raised by a resource that knows its answer: status, code and sentence."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, **members: Any) -> None:
        """members: further members of the document, `next_step` and extensions among them."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members
        self.headers: dict[str, str] = {}


def document(status: HTTPStatus, code: str, detail: str, request_id: str, **members: Any) -> dict[str, Any]:
    """The problem document itself. members: further ones of it; those that are None are left out."""
    made: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _UNPRINTABLE.sub("\ufffd", detail)[:MAX_DETAIL],
        "code": code,
        "request_id": request_id,
    }
    return made | {name: value for name, value in members.items() if value is not None}


def outside_application(
    status: HTTPStatus, code: str, detail: str, request_id: str, **members: Any
) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a problem that is answered before a request comes to Flask. members: as of `document`."""
    body = json.dumps(document(status, code, detail, request_id, **members)).encode()
    headers = [
        ("Content-Type", CONTENT_TYPE),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        (REQUEST_ID_HEADER, request_id),
    ]
    return headers, body


def problem(status: HTTPStatus, code: str, detail: str, **members: Any) -> Response:
    """Make the response. members: further members of the document; those that are None are left out."""
    response = make_response(json.dumps(document(status, code, detail, g.request_id, **members)), int(status))
    response.content_type = CONTENT_TYPE
    response.headers["Cache-Control"] = "no-store"
    return response


def invalid_request(error: ValidationError) -> Response:
    """What pydantic found wrong with a query, a path or a body, without repeating what was sent."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    errors = [
        {"where": _UNPRINTABLE.sub("\ufffd", ".".join(str(part) for part in item["loc"]))[:100], "message": item["msg"]}
        for item in found[:20]
    ]
    first = f"{errors[0]['where'] or 'the request'}: {errors[0]['message']}"
    return problem(HTTPStatus.BAD_REQUEST, "invalid-request", first, errors=errors)


def register(app: Flask) -> None:
    """Answer every error of this application with a problem document."""
    app.register_error_handler(ProblemError, _from_problem_error)
    app.register_error_handler(ManifestServiceError, _from_service_error)
    app.register_error_handler(DatabaseAway, _from_database_away)
    app.register_error_handler(HTTPException, _from_http_exception)
    app.register_error_handler(Exception, _from_defect)


def _from_problem_error(error: ProblemError) -> Response:
    response = problem(error.status, error.code, error.detail, **error.members)
    response.headers.extend(error.headers)
    return response


def _from_service_error(error: ManifestServiceError) -> Response:
    statuses: Mapping[type[ManifestServiceError], HTTPStatus] = {
        ImageUnknown: HTTPStatus.NOT_FOUND,
        ImageDeleted: HTTPStatus.GONE,
        UsageError: HTTPStatus.BAD_REQUEST,
    }
    status = statuses.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return problem(status, error.code, error.reason, next_step=error.next_step or None)


def _from_database_away(error: DatabaseAway) -> Response:
    LOG.warning("request %s cannot be answered, the database does not answer: %s", g.request_id, error)
    if isinstance(error, StatementTooSlow):
        response = problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too-slow",
            "the database took too long for this",
            next_step="Ask for less, or again later.",
        )
    else:
        response = problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "database-away",
            "the database cannot be reached now",
            next_step="Ask again soon.",
        )
    response.headers["Retry-After"] = RETRY_AFTER
    return response


def _from_http_exception(error: HTTPException) -> Response:
    if error.code is None or error.response is not None:
        # Validation has made its answer already; a redirect is none of our business.
        return make_response(error.get_response())
    status = HTTPStatus(error.code)
    response = problem(status, _CODES.get(status, status.phrase.lower().replace(" ", "-")), error.description or "")
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _from_defect(error: Exception) -> Response:
    LOG.exception("request %s broke", g.request_id)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "this is a defect of the service",
        next_step="Report it with the request id; the log has the details.",
    )
