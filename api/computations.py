"""`POST /v1/manifests/{image_id}/computations`: compute, or compute again; for operators."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

from flask import g, jsonify
from flask_openapi3.blueprint import APIBlueprint
from sqlalchemy.orm import Session
from werkzeug import Response

from api.authorization import require, seen_by
from api.policies.computations import ANNOUNCE
from api.problems import ANY_ERROR, ProblemError
from api.schemas import AnnouncedImage, ComputationRequest, ImagePath, ManifestDocument
from api.service import ApiService
from manifest_service.manifests import intake, queries
from manifest_service.manifests.values import ImageObservation, ManifestRecord
from manifest_service.manifests.visibility import EVERYTHING


def make_blueprint(service: ApiService) -> APIBlueprint:
    """The resource that asks for work."""
    blueprint = APIBlueprint("computations", __name__, url_prefix="/v1/manifests", abp_responses=ANY_ERROR)

    @blueprint.post(
        "/<image_id>/computations",
        responses={HTTPStatus.ACCEPTED: ManifestDocument},
        summary="Compute a manifest, or compute it again",
        description="Without a body: a new revision for an image that is known; one that is waiting or under way stays"
        " as it is. With `image`: announces an image that no notification has announced.",
    )
    def request_computation(path: ImagePath, body: ComputationRequest) -> Response:
        image_id = str(path.image_id)

        if body.image is not None:
            require(ANNOUNCE)

        def write(session: Session) -> ManifestRecord | None:
            if body.image is None:
                if queries.image_is_deleted(session, seen_by(), image_id) is None:
                    raise intake.ImageUnknown("not-found", f"no image {image_id} has been seen")
                intake.request_computation(session, image_id, g.request_id)
            else:
                _announce(session, image_id, body.image)
            session.flush()
            return queries.get_newest(session, seen_by(), image_id)

        record = service.database.transaction(write)
        if record is None:
            raise ProblemError(
                HTTPStatus.CONFLICT, "no-data", f"Glance has announced image {image_id}, but no data for it yet"
            )
        response = jsonify(ManifestDocument.of(record).model_dump(mode="json"))
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Location"] = f"/v1/manifests/{image_id}/revisions/{record.revision}"
        return response

    return blueprint


def _announce(session: Session, image_id: str, image: AnnouncedImage) -> None:
    """Take in an image as a notification would have brought it. Raises ProblemError for one that is known."""
    if queries.image_is_deleted(session, EVERYTHING, image_id) is not None:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "image-known",
            f"image {image_id} is known already, and what Glance said of it counts",
            next_step="Leave out `image` to have it computed again.",
        )
    now = datetime.now(UTC)
    intake.observe(
        session,
        ImageObservation(
            image_id=image_id,
            status="active",
            updated_at=now,
            observed_at=now,
            name=image.name,
            owner=image.owner,
            visibility=image.visibility,
            disk_format=image.disk_format,
            container_format=image.container_format,
            size=image.size,
            checksums=image.checksums,
            request_id=g.request_id,
        ),
    )
