"""The Flask application: its resources, and what holds for every request."""

from __future__ import annotations

import re
import uuid
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from oslo_config import cfg
from werkzeug.exceptions import BadRequest

from api import (
    computations,
    events,
    exports,
    keys,
    lookups,
    manifests,
    problems,
    statements,
    verifications,
    versions,
)
from api.pages import site
from api.schemas import ComputationRequest
from api.service import ApiService
from manifest_service import __version__
from manifest_service.manifests.database import Database

_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _OrderedJson(DefaultJSONProvider):
    """Members in the order of their schema: status before digests, as people read."""

    sort_keys = False


def create_app(conf: cfg.ConfigOpts, database: Database) -> Flask:
    """Make the application. Any number may be made in one process."""
    app = OpenAPI(
        "api",
        info=Info(
            title="manifest-service",
            version=__version__,
            description="What an OpenStack image should hash to after conversion.",
        ),
        doc_ui=False,
        static_folder=None,  # the page has its own
        security_schemes={},
        validation_error_status=HTTPStatus.BAD_REQUEST,
        validation_error_model=problems.Problem,
        validation_error_callback=problems.invalid_request,
    )
    app.json = _OrderedJson(app)
    app.config["MAX_CONTENT_LENGTH"] = conf.api.max_body
    service = ApiService(
        database=database,
        page_limit=conf.api.page_limit,
        default_algorithm=(conf.digests.algorithms or ["sha256"])[0],
        exports=max(1, conf.api.threads // 4),
    )
    problems.register(app)
    app.before_request(_take_request_id)
    app.before_request(_require_json)
    app.after_request(_add_headers)
    for resource in (versions, manifests, computations, lookups, events, exports, verifications, statements, keys):
        app.register_api(resource.make_blueprint(service))
    app.register_blueprint(site.make_blueprint(service))
    app.add_url_rule("/v1/openapi.json", "openapi", lambda: _as_described(app.api_doc))
    return app


def _take_request_id() -> None:
    """Keep the caller's request id where it has OpenStack's form, so that logs of several services can be joined."""
    given = request.headers.get("X-Openstack-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4()}"


def _require_json() -> None:
    """Refuse a body that is not JSON before a resource takes it for none."""
    if not request.get_data(cache=True):
        return
    if not request.is_json:
        raise problems.ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the body's Content-Type is not application/json",
        )
    try:
        body = request.get_json()
    except (BadRequest, RecursionError, UnicodeDecodeError) as error:
        raise problems.ProblemError(HTTPStatus.BAD_REQUEST, "malformed-json", "the body is not JSON") from error
    if body is None:
        raise problems.ProblemError(
            HTTPStatus.BAD_REQUEST, "invalid-request", "the body is null; an object was expected"
        )


def _add_headers(response: Response) -> Response:
    response.headers["X-Openstack-Request-Id"] = g.get("request_id", "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-cache")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    response.headers["Referrer-Policy"] = "no-referrer"
    if response.status_code == HTTPStatus.OK and request.method in ("GET", "HEAD") and not response.is_streamed:
        # A strong validator over the body (RFC 9110, section 8.8): whoever has it already gets 304.
        response.add_etag()
        response.make_conditional(request)
    return response


def _as_described(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, with what the library says otherwise than it is.

    An error is one problem, under its own media type; a computation is asked for without a body, too.
    """
    optional = f"#/components/schemas/{ComputationRequest.__name__}"
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                operation["requestBody"]["required"] = content["schema"].get("$ref") != optional
            responses = operation.get("responses", {})
            # The library describes what fails validation as a list; `4XX` says what it really is.
            responses.pop(str(int(HTTPStatus.BAD_REQUEST)), None)
            for status in responses.keys() & problems.ANY_ERROR.keys():
                content = responses[status]["content"]
                if "application/json" in content:  # It is the same document each time.
                    content[problems.CONTENT_TYPE] = content.pop("application/json")
    return document
