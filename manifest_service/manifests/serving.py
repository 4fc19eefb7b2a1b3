"""What is served of an image, said in the image's own row, so that lists are answered from one index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from manifest_service.manifests.models import Image, Manifest
from manifest_service.manifests.states import Status


def refresh(session: Session, image_id: str, now: datetime) -> None:
    """Say anew what is served of an image. Whoever changes it calls this in the same transaction.

    now: by the database's clock.
    """
    refresh_all(session, [image_id], now)


def refresh_all(session: Session, image_ids: Sequence[str], now: datetime) -> None:
    """Say anew what is served of these images, as `refresh` does of one."""
    session.flush()
    # Locked before they are written, and in one order. A row that is waited for in the UPDATE itself is read anew by
    # PostgreSQL when its turn comes, but not the manifests, and a status would stay that is no longer so.
    session.execute(select(Image.id).where(Image.image_id.in_(image_ids)).order_by(Image.id).with_for_update())
    served = (
        select(Manifest.status)
        .where(Manifest.image_id == Image.image_id, Manifest.revision == Image.current_revision)
        .scalar_subquery()
    )
    # Past the row's version: this follows from other rows, and would only have a listener run its transaction again.
    session.execute(
        update(Image)
        .where(Image.image_id.in_(image_ids))
        .values(status=case((Image.deleted_at.is_not(None), Status.DELETED), else_=served), changed_at=now)
        .execution_options(synchronize_session=False)
    )
