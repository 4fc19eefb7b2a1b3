"""The Flask application: its resources, and what holds for every request."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from threading import Lock
from typing import Any

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from oslo_config import cfg
from werkzeug.exceptions import BadRequest

from api import (
    authorization,
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
from api.access import REQUEST_ID, REQUEST_ID_HEADER, RESOURCE, AccessLog
from api.authentication import KEYSTONE
from api.origins import refuse_other_sites
from api.overload import OverloadGate
from api.pages import site
from api.schemas import ComputationRequest
from api.service import ApiService
from manifest_service import __version__
from manifest_service.attestations import strict_json
from manifest_service.manifests.database import Database
from manifest_service.processing.diagnosis import Expectations


class _Json(DefaultJSONProvider):
    """What we write, in the order of its schema: status before digests. What we read: in UTF-8, and in one way only."""

    sort_keys = False

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Read a body. Raises ValueError."""
        return strict_json.loads(s if isinstance(s, str) else s.decode(), longest=len(s))


def create_app(conf: cfg.ConfigOpts, database: Database, expected: Expectations | None = None) -> Flask:
    """Make the application. Any number may be made in one process.

    expected: what /healthcheck misses where it is not; by default listeners and workers. Raises UsageError.
    """
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
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = conf.api.max_body
    service = ApiService(
        database=database,
        page_limit=conf.api.page_limit,
        default_algorithm=(conf.digests.algorithms or ["sha256"])[0],
        exports=max(1, conf.api.threads // 4),
        expected=expected or Expectations(),
    )
    problems.register(app)
    app.before_request(_take_request_id)
    app.after_request(_add_headers)
    for resource in (versions, manifests, computations, lookups, events, exports, verifications, statements, keys):
        app.register_api(resource.make_blueprint(service))
    app.register_blueprint(site.make_blueprint(service))
    app.add_url_rule("/v1/openapi.json", "openapi", _description_of(app))
    app.before_request(refuse_other_sites)
    _admit(app, conf)
    app.before_request(_require_json)
    logged = AccessLog(app.wsgi_app)
    app.wsgi_app = OverloadGate(logged, conf.api.threads, conf.api.backlog)  # type: ignore[method-assign]
    return app


def _admit(app: Flask, conf: cfg.ConfigOpts) -> None:
    """Have it settled for each request who asks, and what he may, as [api] auth_strategy says. Raises UsageError."""
    if conf.api.auth_strategy == KEYSTONE:
        from api import keystone  # noqa: PLC0415 - it is large, and needed only here

        where = keystone.authenticate(app, conf)
        authorization.authorize_by_policies(app, conf, where)
    else:
        authorization.let_everybody(app, is_open=conf.api.listen_without_auth)


def _take_request_id() -> None:
    """Have the request id at hand, and tell the log which resource is asked."""
    g.request_id = request.environ[REQUEST_ID]
    request.environ[RESOURCE] = "none" if request.url_rule is None else request.url_rule.rule


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
    except (BadRequest, UnicodeDecodeError) as error:
        raise problems.ProblemError(HTTPStatus.BAD_REQUEST, "malformed-json", "the body is not JSON") from error
    if body is None:
        raise problems.ProblemError(
            HTTPStatus.BAD_REQUEST, "invalid-request", "the body is null; an object was expected"
        )


def _add_headers(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.get("request_id", "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-cache")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    response.headers["Referrer-Policy"] = "no-referrer"
    if response.status_code == HTTPStatus.OK and request.method in ("GET", "HEAD") and not response.is_streamed:
        # A strong validator over the body (RFC 9110, section 8.8): whoever has it already gets 304.
        response.add_etag()
        response.make_conditional(request)
    return response


def _description_of(app: OpenAPI) -> Callable[[], dict[str, Any]]:
    """The view that gives the OpenAPI document."""
    lock = Lock()  # The library makes its document at the first question, and shows it before it is whole.

    def show() -> dict[str, Any]:
        with lock:
            return _as_described(app.api_doc)

    return show


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
