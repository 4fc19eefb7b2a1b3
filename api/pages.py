"""The page for people: what the API says, readable, and working without JavaScript."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from api.service import ApiService
from manifest_service.errors import NEXT_STEPS
from manifest_service.manifests import queries
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import HistoryEvent, ManifestRecord

PAGE = 50
"""Images on one page."""
HISTORY = 100
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_CACHE_NAME = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"(?:([a-z0-9_-]{1,32}):)?([0-9a-f]{64}|[0-9a-f]{128}|[0-9a-f]{32})")


def make_blueprint(service: ApiService) -> Blueprint:
    """The list of images, and a page for each."""
    blueprint = Blueprint(
        "pages", __name__, template_folder="templates", static_folder="static", static_url_path="/pages"
    )

    @blueprint.get("/images")
    def list_images() -> ResponseReturnValue:
        sought = request.args.get("q", "").strip().lower()[:200]
        status = _status_of(request.args.get("status", ""))
        if sought:
            records = service.database.transaction(lambda session: _search(session, sought))
            if len(records) == 1:
                return redirect(f"/images/{records[0].image_id}", HTTPStatus.SEE_OTHER)
            return _page("images.html", records=records, sought=sought, status=None, following=None)
        marker = _image_id_of(request.args.get("marker", ""))
        try:
            records = service.database.transaction(
                lambda session: queries.list_current(session, queries.ManifestFilter(status=status), PAGE, marker)
            )
        except queries.UnknownMarker:
            records = []
        following = records[-1].image_id if len(records) == PAGE else None
        return _page("images.html", records=records, sought="", status=status, following=following)

    @blueprint.get("/images/<uuid:image_id>")
    def show_image(image_id: UUID) -> ResponseReturnValue:
        def read(session: Session) -> tuple[ManifestRecord | None, list[HistoryEvent]]:
            key = str(image_id)
            return queries.get_current(session, key), queries.list_history(session, key, HISTORY)

        record, history = service.database.transaction(read)
        if record is None:
            response = _page("images.html", records=[], sought=str(image_id), status=None, following=None)
            response.status_code = HTTPStatus.NOT_FOUND
            return response
        return _page("image.html", record=record, history=history, next_step=NEXT_STEPS.get(record.code or ""))

    return blueprint


def _page(template: str, **values: Any) -> Response:
    response = make_response(render_template(template, statuses=list(Status), **values))
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _search(session: Session, sought: str) -> list[ManifestRecord]:
    """Find images by what somebody holds in hand: an image id, a name in `_base`, or a digest."""
    image_id = _image_id_of(sought)
    if image_id is not None:
        return queries.find_by_image_ids(session, [image_id])
    if _CACHE_NAME.fullmatch(sought):
        return queries.find_by_cache_names(session, [sought])
    digest = _DIGEST.fullmatch(sought)
    if digest is None:
        return []
    by_length = {32: "md5", 64: "sha256", 128: "sha512"}
    algorithm = digest[1] or by_length[len(digest[2])]
    return queries.find_by_digests(session, [(algorithm, digest[2])], PAGE)


def _status_of(text: str) -> Status | None:
    return Status(text) if text in set(Status) else None


def _image_id_of(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
