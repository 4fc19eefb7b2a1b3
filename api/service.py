"""What every resource is given: the database, and the options that it answers by."""

from __future__ import annotations

from dataclasses import dataclass

from manifest_service.manifests.database import Database
from manifest_service.processing.diagnosis import Expectations


@dataclass(frozen=True)
class ApiService:
    """page_limit: manifests on one page, and keys in one lookup. default_algorithm: what the text form gives.

    exports: how many are answered at a time. expected: what there should be of the service behind the API.
    """

    database: Database
    page_limit: int
    default_algorithm: str
    exports: int
    expected: Expectations
