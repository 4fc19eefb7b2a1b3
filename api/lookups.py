"""`POST /v1/lookups`: many keys in one call, for a node that has a whole `_base` directory to check."""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify
from flask_openapi3.blueprint import APIBlueprint
from sqlalchemy.orm import Session
from werkzeug import Response

from api.authorization import seen_by
from api.problems import ANY_ERROR, ProblemError
from api.schemas import LookupDocument, LookupRequest, ManifestDocument, Unknown
from api.service import ApiService
from api.statement_schemas import AttestedLookupDocument, AttestedManifestDocument
from manifest_service.manifests import queries
from manifest_service.manifests.values import ManifestRecord


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resource that finds manifests by keys of any kind."""
    blueprint = APIBlueprint("lookups", __name__, url_prefix="/v1", abp_responses=ANY_ERROR)

    @blueprint.post(
        "/lookups",
        responses={HTTPStatus.OK: AttestedLookupDocument},
        summary="Find manifests by image ids, cache names and digests",
        description="Up to [api] page_limit keys (1,000 by default) in one call. Manifests of deleted images are among"
        " the answers, with status `deleted`. With `statements`, each manifest has the member `statement` too.",
    )
    def look_up(body: LookupRequest) -> Response:
        keys = len(body.image_ids) + len(body.cache_names) + len(body.digests)
        if not 1 <= keys <= service.page_limit:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "too-many-keys" if keys else "no-keys",
                f"a lookup takes 1 to {service.page_limit} keys, this one has {keys}",
            )
        document = service.database.transaction(lambda session: _find(session, body, service.page_limit))
        return jsonify(document.model_dump(mode="json"))

    return blueprint


def _find(session: Session, wanted: LookupRequest, limit: int) -> LookupDocument:
    digests = [(algorithm, value) for algorithm, _, value in (text.partition(":") for text in wanted.digests)]
    image_ids = [str(image_id) for image_id in wanted.image_ids]
    by_id = queries.find_by_image_ids(session, seen_by(), image_ids)
    by_name = queries.find_by_cache_names(session, seen_by(), wanted.cache_names)
    by_digest = queries.find_by_digests(session, seen_by(), digests, limit)
    found: dict[str, ManifestRecord] = {record.image_id: record for record in (*by_id, *by_name, *by_digest)}
    names = {record.cache_name for record in by_name}
    # Those that no served manifest has may still be an older revision's.
    known = {pair for record in by_digest for pair in record.digests.items()}
    known |= queries.known_digests(session, seen_by(), [pair for pair in digests if pair not in known])
    unknown = Unknown(
        image_ids=[image_id for image_id in wanted.image_ids if str(image_id) not in found],
        cache_names=[name for name in wanted.cache_names if name not in names],
        digests=[f"{algorithm}:{value}" for algorithm, value in digests if (algorithm, value) not in known],
    )
    if wanted.statements:
        attested = [AttestedManifestDocument.of(record) for record in found.values()]
        return AttestedLookupDocument(manifests=attested, unknown=unknown)
    return LookupDocument(manifests=[ManifestDocument.of(record) for record in found.values()], unknown=unknown)
