"""`/v1/keys`: the public keys that statements were signed with.

Whoever trusts a key because it is served here trusts this service and its database. Nodes and auditors get their keys
from the operator, and compare the ids.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import jsonify, make_response, request
from flask_openapi3.blueprint import APIBlueprint
from werkzeug import Response

from api.problems import ANY_ERROR, ProblemError
from api.service import ApiService
from api.statement_schemas import KeyDocument, KeyList, KeyPath
from manifest_service.manifests import statements

JSON = "application/json"
PEM = "application/x-pem-file"


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The list of keys, and one key."""
    blueprint = APIBlueprint("keys", __name__, url_prefix="/v1/keys", abp_responses=ANY_ERROR)

    @blueprint.get("", responses={HTTPStatus.OK: KeyList}, summary="All keys that statements were signed with")
    def list_keys() -> Response:
        keys = service.database.transaction(statements.list_keys)
        return jsonify(KeyList(keys=[KeyDocument.of(key) for key in keys]).model_dump(mode="json"))

    @blueprint.get(
        "/<key_id>",
        responses={HTTPStatus.OK: KeyDocument},
        summary="One key",
        description=f"`Accept: {PEM}` gives the public key alone, as `--trusted-key` and openssl read it.",
    )
    def show_key(path: KeyPath) -> Response:
        key = service.database.transaction(lambda session: statements.get_key(session, path.key_id))
        if key is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "not-found", f"nothing was ever signed here with a key {path.key_id}"
            )
        offered = request.accept_mimetypes.best_match([JSON, PEM]) if request.accept_mimetypes else JSON
        if offered is None:
            raise ProblemError(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", f"this resource is {JSON} or {PEM}")
        if offered == JSON:
            response = jsonify(KeyDocument.of(key).model_dump(mode="json"))
        else:
            response = make_response(key.public_key)
            response.content_type = PEM
        response.vary.add("Accept")
        return response

    return blueprint
