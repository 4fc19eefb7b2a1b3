"""The checksums that Glance records of an image and its notification leaves out: os_hash_algo, os_hash_value."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from manifest_service.errors import ComputationFailed, DownloadFailed, FailureCode
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_record import ImageRecord
from manifest_service.images.objects.glance_object import as_store_error
from manifest_service.images.objects.stored_object import ObjectMissing

_SETTLED = {"active", "deactivated"}
_PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds between questions: Glance notifies of an upload before it commits it, usually less than a second before."""


class GlanceHashes:
    """Asks Glance, if there is one to ask."""

    def __init__(self, glance: GlanceApi | None) -> None:
        self._glance = glance

    def of(self, image_id: str, tick: Callable[[], None]) -> Mapping[str, str]:
        """All checksums that Glance records, algorithm → hex; none where nobody can be asked.

        tick: called between two questions; what it raises is passed on.
        Raises ComputationFailed: glance-away, glance-forbidden, source-not-found where Glance does not know the image,
        or has not finished with it. A manifest without this comparison would be weaker for ever, so it waits instead.
        """
        if self._glance is None:
            return {}
        record = self._ask(self._glance, image_id)
        for pause in _PAUSES:
            if record.status in _SETTLED:
                return record.checksums
            tick()
            time.sleep(pause)
            record = self._ask(self._glance, image_id)
        if record.status in _SETTLED:
            return record.checksums
        raise ComputationFailed(
            FailureCode.SOURCE_NOT_FOUND,
            f"Glance has not finished with the image: it is {record.status}, and was to be active",
            retriable=True,
        )

    def _ask(self, glance: GlanceApi, image_id: str) -> ImageRecord:
        try:
            return glance.show(image_id)
        except DownloadFailed as error:
            meant = as_store_error(error)
            if isinstance(meant, ComputationFailed):
                raise meant from error
            code = FailureCode.SOURCE_NOT_FOUND if isinstance(meant, ObjectMissing) else FailureCode.GLANCE_AWAY
            raise ComputationFailed(code, error.reason, retriable=True) from error
