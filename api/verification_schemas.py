"""What goes in and out of `/v1/verifications`, as pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from api.answers import Answer
from api.schemas import STORABLE, CacheName, Count, PageQuery, Request, Time, Word, storable
from manifest_service.manifests.verifications import VerificationFilter, VerificationRecord, VerificationReport
from manifest_service.verdicts import Evidence, Verdict

MAX_REPORTS = 1000
"""Verifications in one call."""
MAX_RANGES = 1000
"""Differing ranges told of one file."""

Node = Annotated[
    str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9._:-]+$", description="The compute node's name.")
]
# Linux allows no longer path.
FilePath = Annotated[str, Field(min_length=1, max_length=4096, json_schema_extra=STORABLE), AfterValidator(storable)]
Reason = Annotated[str, Field(max_length=1000, json_schema_extra=STORABLE), AfterValidator(storable)]
Range = Annotated[tuple[Count, Count], Field(description="Offset and length, in bytes.")]


class ReportedVerification(Request):
    """What the node says of one file."""

    id: Annotated[UUID, Field(description="Made by the node: what is sent twice under one id is recorded once.")]
    file: Annotated[FilePath, Field(description="Its path on the node.")]
    image_id: UUID | None = None
    cache_name: CacheName | None = None
    verdict: Verdict
    evidence: Evidence | None = None
    algorithm: Annotated[Word, Field(description="Of the digest that is the evidence.")] | None = None
    differs: list[Range] = Field(default_factory=list, max_length=MAX_RANGES, description="The ranges that differ.")
    size: Annotated[Count, Field(description="Bytes of the file.")] | None = None
    reason: Annotated[Reason, Field(description="A sentence.")]
    checked_at: Annotated[Time, Field(description="By the node's clock.")]

    def as_report(self) -> VerificationReport:
        """The domain's own form."""
        return VerificationReport(
            report_id=str(self.id),
            file=self.file,
            verdict=self.verdict,
            reason=self.reason,
            checked_at=self.checked_at,
            image_id=None if self.image_id is None else str(self.image_id),
            cache_name=self.cache_name,
            evidence=self.evidence,
            algorithm=self.algorithm,
            differs=tuple(self.differs),
            size=self.size,
        )


class VerificationsRequest(Request):
    """What one node says of its files."""

    node: Node
    verifications: Annotated[list[ReportedVerification], Field(min_length=1, max_length=MAX_REPORTS)]


class RecordedDocument(Answer):
    """How many verifications of a call were recorded by it, and how many were known already."""

    recorded: int
    known: int


class VerificationsQuery(PageQuery):
    """Which verifications."""

    marker: Annotated[UUID, Field(description="Id of the last item of the page before.")] | None = None
    node: Node | None = None
    image_id: UUID | None = None
    verdict: Verdict | None = None
    file: Annotated[FilePath, Field(description="The whole path.")] | None = None
    since: Annotated[Time, Field(description="Checked at or after this time.")] | None = None
    until: Annotated[Time, Field(description="Checked before this time.")] | None = None
    latest: Annotated[bool, Field(description="Only the latest of each node and file.")] = False

    def as_filter(self) -> VerificationFilter:
        """The domain's own form."""
        return VerificationFilter(
            node=self.node,
            image_id=None if self.image_id is None else str(self.image_id),
            verdict=self.verdict,
            file=self.file,
            since=self.since,
            until=self.until,
            latest=self.latest,
        )


class VerificationDocument(Answer):
    """What a node said of one of its files. latest: nothing that was checked later is known of this node and file.

    reported_by: Keystone's id of the user who reported it; null where nobody was authenticated.
    """

    id: UUID
    node: str
    file: str
    image_id: UUID | None
    cache_name: str | None
    verdict: Annotated[Verdict | str, Field(description="Further ones may come.")]
    evidence: Annotated[Evidence | str | None, Field(description="Further ones may come.")]
    algorithm: str | None
    differs: list[tuple[int, int]]
    size: int | None
    reason: str
    checked_at: datetime
    received_at: datetime
    latest: bool
    reported_by: str | None

    @classmethod
    def of(cls, record: VerificationRecord) -> VerificationDocument:
        """The document of a record."""
        report = record.report
        return cls(
            id=UUID(report.report_id),
            node=record.node,
            file=report.file,
            image_id=None if report.image_id is None else UUID(report.image_id),
            cache_name=report.cache_name,
            verdict=report.verdict,
            evidence=report.evidence,
            algorithm=report.algorithm,
            differs=list(report.differs),
            size=report.size,
            reason=report.reason,
            checked_at=report.checked_at,
            received_at=record.received_at,
            latest=record.is_latest,
            reported_by=record.reported_by,
        )


class VerificationList(Answer):
    """A page of verifications, those received last coming first; `links.next` is there while there may be more."""

    verifications: list[VerificationDocument]
    links: dict[str, str]
