"""Making a page: its template, its words, and the policy that keeps anything foreign from running in it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, g, make_response, render_template, request

from api import problems
from api.authorization import seen_by
from api.pages import words
from api.service import ApiService
from manifest_service import shown

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere. A worker obeys the policy of its own script, so these have it too."""

_WORDS = (
    shown.visible,
    words.title,
    words.isolated,
    words.sentence,
    words.advice,
    words.leading,
    shown.size,
    words.exact,
    words.moment,
    words.share,
)


def set_up(blueprint: Blueprint, service: ApiService) -> None:
    """Give the blueprint what all its pages share."""
    for word in _WORDS:
        blueprint.add_app_template_filter(word)
    blueprint.app_context_processor(lambda: {"default_algorithm": service.default_algorithm, "sees_nodes": _sees_nodes})
    blueprint.after_request(_add_policy)
    blueprint.after_app_request(_problem_as_page)


def page(template: str, status: HTTPStatus = HTTPStatus.OK, /, **values: Any) -> Response:
    """Render a template. values: what it is given, by name."""
    response = make_response(render_template(template, **values), status)
    response.headers["Cache-Control"] = "no-store" if status != HTTPStatus.OK else "no-cache"
    return response


def _sees_nodes() -> bool:
    """Whether what nodes reported may be shown; not where a request was refused before that was known."""
    return "enforcer" in g and seen_by(nodes=True).nodes


def _add_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _problem_as_page(response: Response) -> Response:
    """Show a problem as a page to who asked for one; programs get the document, as does everybody below /v1."""
    if response.mimetype != problems.CONTENT_TYPE or request.path.startswith("/v1/"):
        return response
    response.vary.add("Accept")
    if request.accept_mimetypes.best_match([problems.CONTENT_TYPE, "text/html"]) != "text/html":
        return response
    response.set_data(render_template("problem.html", problem=response.get_json()))
    response.mimetype = "text/html"
    return _add_policy(response)
