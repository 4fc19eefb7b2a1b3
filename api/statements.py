"""`…/statement`: the signed statement of a manifest, exactly as it was signed."""

from __future__ import annotations

from http import HTTPStatus

from flask import make_response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.types import ResponseDict
from werkzeug import Response

from api.authorization import seen_by
from api.manifests import finish, require_manifest
from api.problems import ANY_ERROR, ProblemError
from api.schemas import ImagePath, RevisionPath
from api.service import ApiService
from api.statement_schemas import ENVELOPE_SCHEMA
from manifest_service.attestations.envelope import MEDIA_TYPE
from manifest_service.errors import NEXT_STEPS, StatementCode
from manifest_service.manifests import queries
from manifest_service.manifests.values import ManifestRecord

_ENVELOPE: ResponseDict = {HTTPStatus.OK: {"content": {MEDIA_TYPE: {"schema": ENVELOPE_SCHEMA}}}}


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The statements of manifests.

    They are also served of manifests that were edited afterwards: whoever trusts the key learns the truth from them.
    """
    blueprint = APIBlueprint("statements", __name__, url_prefix="/v1/manifests", abp_responses=ANY_ERROR)

    @blueprint.get(
        "/<image_id>/statement",
        responses=_ENVELOPE,
        summary="The signed statement of an image's manifest",
        description="An in-toto Statement in a DSSE envelope. 404 `no-statement` where there is none (yet).",
    )
    def show_statement(path: ImagePath) -> Response:
        return _answer(require_manifest(service, str(path.image_id)))

    @blueprint.get(
        "/<image_id>/revisions/<int:revision>/statement",
        responses=_ENVELOPE,
        summary="The signed statement of one revision, also of a deleted image's",
    )
    def show_revision_s_statement(path: RevisionPath) -> Response:
        image_id = str(path.image_id)
        record = service.database.transaction(
            lambda session: queries.get_revision(session, seen_by(), image_id, path.revision)
        )
        if record is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "not-found", f"image {image_id} has no manifest of revision {path.revision}"
            )
        return _answer(record)

    return blueprint


def _answer(record: ManifestRecord) -> Response:
    if record.statement is None:
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            StatementCode.NO_STATEMENT,
            f"revision {record.revision} of image {record.image_id} is {record.status} and has no statement",
            next_step=NEXT_STEPS[StatementCode.NO_STATEMENT],
        )
    response = make_response(record.statement)
    response.content_type = MEDIA_TYPE
    return finish(response, record)
