"""`/v1/manifests`: the list, one image's manifest, its revisions and its history."""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify, make_response, request
from flask_openapi3.blueprint import APIBlueprint
from sqlalchemy import Connection
from sqlalchemy.orm import Session
from werkzeug import Response

from api.authorization import seen_by
from api.event_schemas import EventDocument, HistoryDocument, HistoryQuery
from api.pagination import page_links
from api.problems import ANY_ERROR, ProblemError
from api.schemas import (
    ImagePath,
    ManifestDocument,
    ManifestList,
    ManifestQuery,
    ManifestsQuery,
    RevisionPath,
)
from api.service import ApiService
from manifest_service.errors import NEXT_STEPS, StatementCode
from manifest_service.manifests import history, queries, walking
from manifest_service.manifests.states import UNFINISHED, Status
from manifest_service.manifests.values import ManifestRecord

RETRY_AFTER = "2"
"""Seconds between two looks at a manifest in the making."""
READY_MAX_AGE = 86400
"""Seconds that a ready manifest may be kept: it never changes, but its image may be deleted."""
TEXT = "text/plain"
JSON = "application/json"
BMAP = "application/xml"


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resources under /v1/manifests that only read."""
    blueprint = APIBlueprint("manifests", __name__, url_prefix="/v1/manifests", abp_responses=ANY_ERROR)

    @blueprint.get("", responses={HTTPStatus.OK: ManifestList}, summary="List and filter current manifests")
    def list_manifests(query: ManifestsQuery) -> Response:
        limit = min(query.limit, service.page_limit)
        wanted, order = _filter_of(query), queries.Order(query.sort_key, descending=query.sort_dir == "desc")
        try:
            records = service.database.transaction(
                lambda session: queries.list_current(session, seen_by(), wanted, limit, query.marker, order)
            )
        except queries.UnknownMarker:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "unknown-marker",
                f"the marker {query.marker} is none of a page in this order",
                next_step="Follow links.next of the page before, or begin anew without a marker.",
            ) from None
        page = ManifestList(
            manifests=[ManifestDocument.of(record) for record in records],
            links=page_links([order.marker_of(record) for record in records], limit),
        )
        return jsonify(page.model_dump(mode="json"))

    @blueprint.get(
        "/<image_id>",
        responses={HTTPStatus.OK: ManifestDocument, HTTPStatus.ACCEPTED: ManifestDocument},
        summary="The manifest of an image",
        description="200 when final, 202 while it is made, 404 unknown, 410 deleted. `Accept: text/plain` gives lines"
        " that `sha256sum -c` reads beside Nova's file; they are comments where there is no digest.",
    )
    def show_manifest(path: ImagePath, query: ManifestQuery) -> Response:
        record = require_manifest(service, str(path.image_id))
        require_sound(record)
        offered = request.accept_mimetypes.best_match([JSON, TEXT]) if request.accept_mimetypes else JSON
        if offered is None:
            raise ProblemError(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", f"this resource is {JSON} or {TEXT}")
        if offered == TEXT:
            response = make_response(_as_text(record, query.algorithm or service.default_algorithm))
            response.content_type = f"{TEXT}; charset=utf-8"
        else:
            response = jsonify(ManifestDocument.of(record).model_dump(mode="json"))
        return finish(response, record)

    @blueprint.get(
        "/<image_id>/bmap",
        responses={HTTPStatus.OK: {"content": {BMAP: {"schema": {"type": "string"}}}}},
        summary="The block map: which ranges of the disk hold data, and what each hashes to",
        description="A bmap 2.0 document, as bmaptool reads it. 404 where there is none (yet).",
    )
    def show_block_map(path: ImagePath) -> Response:
        record = require_manifest(service, str(path.image_id))
        require_sound(record)
        document = walking.read_block_map(service.database, record)
        if document is None and record.has_block_map:
            raise _tampered(record, "its block map is not the one that was signed, or cannot be unpacked")
        if document is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                "no-block-map",
                f"the manifest of image {record.image_id} is {record.status} and has no block map",
                next_step="Maps are made of ready manifests, if [digests] block_map_ranges allows one so large.",
            )
        response = make_response(document)
        response.content_type = BMAP
        return finish(response, record)

    @blueprint.get("/<image_id>/history", responses={HTTPStatus.OK: HistoryDocument}, summary="What happened when")
    def show_history(path: ImagePath, query: HistoryQuery) -> Response:
        image_id = str(path.image_id)

        def read(session: Session) -> list[EventDocument]:
            if queries.image_is_deleted(session, seen_by(), image_id) is None:
                raise _unknown(image_id)
            events = history.list_history(session, seen_by(nodes=True), image_id, query.limit, query.marker)
            return [EventDocument.of(event) for event in events]

        events = service.database.transaction(read)
        links = page_links([str(event.number) for event in reversed(events)], query.limit)
        document = HistoryDocument(events=events, links=links | {"manifest": f"/v1/manifests/{image_id}"})
        return jsonify(document.model_dump(mode="json"))

    @blueprint.get(
        "/<image_id>/revisions/<int:revision>",
        responses={HTTPStatus.OK: ManifestDocument, HTTPStatus.ACCEPTED: ManifestDocument},
        summary="One revision of the manifest, whatever its state",
    )
    def show_revision(path: RevisionPath) -> Response:
        image_id = str(path.image_id)
        record = service.database.transaction(
            lambda session: queries.get_revision(session, seen_by(), image_id, path.revision)
        )
        if record is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "not-found", f"image {image_id} has no manifest of revision {path.revision}"
            )
        require_sound(record)
        return finish(jsonify(ManifestDocument.of(record).model_dump(mode="json")), record)

    return blueprint


def require_manifest(service: ApiService, image_id: str) -> ManifestRecord:
    """The current manifest of an image. Raises ProblemError where there is none to serve."""

    def read(connection: Connection) -> tuple[ManifestRecord | None, bool | None]:
        record = queries.get_current(connection, seen_by(), image_id)
        if record is not None:
            return record, record.deleted_at is not None
        return None, queries.image_is_deleted(connection, seen_by(), image_id)

    record, deleted = service.database.read(read)
    if deleted is None:
        raise _unknown(image_id)
    if deleted:
        kept = None if record is None else ManifestDocument.of(record).model_dump(mode="json")
        raise ProblemError(HTTPStatus.GONE, "image-deleted", f"image {image_id} was deleted in Glance", manifest=kept)
    if record is None:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "not-found", f"Glance has announced image {image_id}, but no data for it yet"
        )
    return record


def require_sound(record: ManifestRecord) -> None:
    """Raise ProblemError for a manifest that was edited in the database after it was signed.

    500, since it is our own data that is broken: no other request would do better, nor would the same one later, and no
    client takes it for an answer.
    """
    if record.code == StatementCode.MANIFEST_TAMPERED:
        raise _tampered(record, record.reason or "")


def _tampered(record: ManifestRecord, reason: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        StatementCode.MANIFEST_TAMPERED,
        f"image {record.image_id}, revision {record.revision}: {reason}",
        next_step=NEXT_STEPS[StatementCode.MANIFEST_TAMPERED],
    )


def _unknown(image_id: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        "not-found",
        f"no image {image_id} has been seen",
        next_step="Check the id; an image from before this service needs a computation to be asked for.",
    )


def finish(response: Response, record: ManifestRecord) -> Response:
    """Status and caching by the manifest's state."""
    response.vary.add("Accept")
    if record.status in UNFINISHED:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = RETRY_AFTER
        response.headers["Cache-Control"] = "no-store"
        return response
    if record.status is Status.READY:
        response.headers["Cache-Control"] = f"private, max-age={READY_MAX_AGE}"
    return response


def _as_text(record: ManifestRecord, algorithm: str) -> str:
    """The line that `sha256sum -c` reads (or `b2sum -c`, by algorithm), below a comment that says what it is."""
    lines = [f"# image {record.image_id} revision {record.revision}: {record.status}, {algorithm} of Nova's _base file"]
    value = record.digests.get(algorithm)
    if value is not None:
        lines.append(f"{value}  {record.cache_name}")
    elif record.status is Status.READY:
        lines.append(f"# no such digest was computed; there are: {', '.join(sorted(record.digests))}")
    elif record.code is not None:
        # On one line, whatever it holds: `sha256sum -c` would believe a second one.
        lines.append(f"# {record.code}: {' '.join((record.reason or '').split())}")
    return "\n".join(lines) + "\n"


def _filter_of(query: ManifestsQuery) -> queries.ManifestFilter:
    digest = None
    if query.digest is not None:
        algorithm, _, value = query.digest.partition(":")
        digest = (algorithm, value)
    return queries.ManifestFilter(
        status=query.status,
        name=query.name,
        disk_format=query.disk_format,
        owner=query.owner,
        digest=digest,
        cache_name=query.cache_name,
        since=query.since,
    )
