"""`GET /v1/export`: everything in one answer, made while it is read.

An answer of any length takes bounded memory, and none of the database's connections between two parts. Its length is
not known when it begins, so that what tells a whole answer from one that broke off is the end of its chunked encoding:
where something goes wrong on the way, the connection is closed without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import Annotated

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from oslo_log import log
from pydantic import Field

from api.authorization import seen_by
from api.export_formats import CONTENT_TYPES, DEFAULT_ALGORITHM, MEDIA_TYPES, Export, ExportFormat, Piece, write
from api.problems import ANY_ERROR, ProblemError, problem
from api.schemas import Request, Text, Time, Word
from api.service import ApiService
from manifest_service.manifests.database import DatabaseAway
from manifest_service.manifests.queries import ManifestFilter
from manifest_service.manifests.states import Status

LOG = log.getLogger(__name__)

RETRY_AFTER = "30"
"""Seconds after which one of the exports under way may have ended."""


class ExportQuery(Request):
    """What to export, and how."""

    format: ExportFormat = ExportFormat.JSONL
    algorithm: Annotated[
        str, Field(pattern=r"^[a-z0-9_-]{1,32}$", description="Of the sums, for `format=sha256sums`.")
    ] = DEFAULT_ALGORITHM
    block_maps: Annotated[bool, Field(description="Whether JSON lines have the member `bmap`.")] = False
    status: Status | None = None
    disk_format: Word | None = None
    owner: Text | None = None
    since: Annotated[Time, Field(description="Changed at or after this time.")] | None = None

    def as_export(self) -> Export:
        """The export that is asked for. Raises UsageError for a combination that cannot be."""
        wanted = ManifestFilter(status=self.status, disk_format=self.disk_format, owner=self.owner, since=self.since)
        return Export(self.format, wanted, self.algorithm, self.block_maps)


_CONTENT = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resource that gives everything."""
    blueprint = APIBlueprint("exports", __name__, url_prefix="/v1", abp_responses=ANY_ERROR)
    slots = threading.BoundedSemaphore(service.exports)

    @blueprint.get(
        "/export",
        responses={HTTPStatus.OK: {"description": "One line a manifest.", "content": _CONTENT}},
        summary="All current manifests in one answer: JSON lines, CSV, sums, or statements",
        description="Streamed, the image that was seen first coming first; one that is announced meanwhile may still"
        " come at the end. An answer is whole where its chunked encoding ends in order; one that broke off does not."
        " Needs HTTP/1.1. A few exports are answered at a time; more are told 503 and Retry-After.",
    )
    def export(query: ExportQuery) -> Response:
        asked = query.as_export()
        _require_chunks()
        if request.method == "HEAD":
            return _respond(asked, iter(()))
        if not slots.acquire(blocking=False):
            return _no_slot(service.exports)
        try:
            response = _respond(asked, _begin(write(service.database, seen_by(), asked)))
        except BaseException:
            slots.release()
            raise
        response.call_on_close(slots.release)
        return response

    return blueprint


def _no_slot(slots: int) -> Response:
    """Each export takes a thread for as long as its reader takes: most of them are left to the nodes' questions."""
    response = problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-many-exports",
        f"{slots} exports are under way, and this process answers no more at a time",
        next_step="Ask again later, or run `manifest-service export` beside the database.",
    )
    response.headers["Retry-After"] = RETRY_AFTER
    return response


def _require_chunks() -> None:
    """Refuse where nothing would tell that the answer broke off, and a proxy would pass it on as a whole one.

    Over HTTP/1.0 there is no sign for it, and uWSGI sends answers of unknown length as HTTP/1.0 does.
    """
    if "uwsgi.version" in request.environ:
        raise ProblemError(
            HTTPStatus.NOT_IMPLEMENTED,
            "no-chunked-answers",
            "this API runs under uWSGI, whose answers do not tell where they broke off",
            next_step="Run `manifest-service export` beside the database, or ask an API under another server.",
        )
    if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        raise ProblemError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "http-version-not-supported",
            "an export needs HTTP/1.1, since HTTP/1.0 cannot tell that an answer broke off; this came as HTTP/1.0",
            next_step="A proxy in front may have to be told: nginx by `proxy_http_version 1.1`.",
        )


def _begin(pieces: Iterator[Piece]) -> Iterator[bytes]:
    """Read the first piece now: while nothing was sent, an error can still be told by a problem document."""
    first = next(pieces)
    return _texts(chain([first], pieces))


def _texts(pieces: Iterator[Piece]) -> Iterator[bytes]:
    try:
        for piece in pieces:
            yield piece.text
    except DatabaseAway as error:
        # Going on to the end would make the answer look whole.
        LOG.warning("an export breaks off, the database is away: %s", error)
        raise


def _respond(asked: Export, pieces: Iterator[bytes]) -> Response:
    response = Response(pieces, content_type=CONTENT_TYPES[asked.format])
    response.headers["Content-Disposition"] = f'attachment; filename="{asked.file_name}"'
    response.headers["Cache-Control"] = "no-store"
    return response
