"""What goes in and out of the API, as pydantic models: they check requests and make the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from api.answers import Answer
from manifest_service.errors import NEXT_STEPS
from manifest_service.manifests.queries import SortKey
from manifest_service.manifests.states import Status
from manifest_service.manifests.values import ManifestRecord, Progress

MAX_SIZE = 2**63 - 1
MAX_KEYS = 10000
"""Keys of one kind in a lookup, whatever [api] page_limit says."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$", re.ASCII)


def storable(value: str) -> str:
    """The text itself. Raises ValueError where no database of ours takes it."""
    if _UNSTORABLE.search(value):
        raise ValueError("holds a character that cannot be stored (NUL or half a surrogate pair)")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away to be a time in UTC") from None


def _require_rfc_3339(value: object) -> object:
    """A time as the standard writes it: pydantic would also take numbers for seconds since 1970."""
    if isinstance(value, str) and not _TIME.match(value):
        raise ValueError("is no time as RFC 3339 writes it, 2026-11-23T12:00:00Z")
    if not isinstance(value, str):
        raise ValueError("is no text")  # noqa: TRY004 - pydantic turns ValueError into its own
    return value


def _require_number(value: object) -> object:
    """JSON's own numbers: pydantic would also take texts and truth values."""
    if isinstance(value, bool | str):
        raise ValueError("is no number")  # noqa: TRY004 - pydantic turns ValueError into its own
    return value


STORABLE = {"pattern": "^[^\\u0000]*$"}
"""For the OpenAPI description of what `storable` checks."""
Text = Annotated[str, Field(max_length=255, json_schema_extra=STORABLE), AfterValidator(storable)]
Count = Annotated[int, Field(ge=0, le=MAX_SIZE), BeforeValidator(_require_number)]
Word = Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9._-]+$")]
Hex = Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[0-9a-f]+$")]
DigestText = Annotated[
    str, Field(pattern=r"^[a-z0-9_-]{1,32}:[0-9a-f]{8,128}$", description="`algorithm:hex`, in lower case.")
]
CacheName = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="File name in `_base`: SHA-1 of the image id.")]
Time = Annotated[AwareDatetime, BeforeValidator(_require_rfc_3339), AfterValidator(_in_utc)]


class Request(BaseModel):
    """A request says nothing that we do not know: a misspelt filter must not be passed over."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As pydantic makes it. flask-openapi3 asks for the plain one at every request, so that is kept."""
        return super().model_json_schema(*arguments, **options) if arguments or options else cls._plain_schema()

    @classmethod
    @cache
    def _plain_schema(cls) -> dict[str, Any]:
        return super().model_json_schema()


class ImagePath(Request):
    """Which image."""

    image_id: UUID


class RevisionPath(ImagePath):
    """Which revision of which image's manifest."""

    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]


class PageQuery(Request):
    """How much of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_KEYS)] = 100


class ManifestsQuery(PageQuery):
    """Which manifests, and in which order."""

    marker: (
        Annotated[
            str,
            Field(
                max_length=80,
                pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z_)?[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}$",
                description="Of `links.next`. In the order of `created_at` it is the image id of the last item before.",
            ),
        ]
        | None
    ) = None
    sort_key: Annotated[SortKey, Field(description="`created_at`: when the image was first seen.")] = SortKey.CREATED_AT
    sort_dir: Literal["asc", "desc"] = "desc"
    name: Annotated[Text, Field(description="The image's whole name.")] | None = None
    status: Status | None = None
    disk_format: Word | None = None
    owner: Text | None = None
    digest: DigestText | None = None
    cache_name: CacheName | None = None
    since: Annotated[Time, Field(description="Changed at or after this time.")] | None = None


class ManifestQuery(Request):
    """For the text form: which digest its lines give."""

    algorithm: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] | None = None


class AnnouncedImage(Request):
    """What Glance's record says of an image that no notification has announced."""

    name: Text | None = None
    owner: Text | None = None
    visibility: Word | None = None
    disk_format: Word
    container_format: Word = "bare"
    size: Annotated[Count, Field(description="Bytes of the source.")] | None = None
    checksum: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="MD5 of the source.")] | None = None
    os_hash_algo: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] | None = None
    os_hash_value: Hex | None = None

    @model_validator(mode="after")
    def _hash_is_whole(self) -> AnnouncedImage:
        if (self.os_hash_algo is None) != (self.os_hash_value is None):
            raise ValueError("os_hash_algo and os_hash_value come together")
        return self

    @property
    def checksums(self) -> dict[str, str]:
        """Algorithm → hex of the source, in one place."""
        checksums = {} if self.checksum is None else {"md5": self.checksum}
        if self.os_hash_algo is not None and self.os_hash_value is not None:
            checksums[self.os_hash_algo] = self.os_hash_value
        return checksums


class ComputationRequest(Request):
    """A wish for a computation; `image` only for one that has not been seen yet."""

    image: AnnouncedImage | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_body(cls, value: Any) -> Any:
        return {} if value is None else value


class LookupRequest(Request):
    """What a node or an auditor holds in hand."""

    image_ids: Annotated[list[UUID], Field(max_length=MAX_KEYS)] = []
    cache_names: Annotated[list[CacheName], Field(max_length=MAX_KEYS)] = []
    digests: Annotated[list[DigestText], Field(max_length=MAX_KEYS)] = []
    statements: Annotated[bool, Field(description="Have each manifest come with its statement.")] = False


class Source(Answer):
    """The image's bytes as Glance stores them: size in bytes, checksums as algorithm → hex, computed by us."""

    size: int | None
    checksums: dict[str, str]


class ProgressDocument(Answer):
    """Bytes of the disk that are done, and their total (0 until the disk is open)."""

    done: int
    total: int

    @classmethod
    def of(cls, progress: Progress | None) -> ProgressDocument | None:
        """The document of a progress; None for a manifest that is final."""
        return None if progress is None else cls(done=progress.done, total=progress.total)


class ManifestDocument(Answer):
    """What is known of one image's disk. virtual_size in bytes; digests of the disk as algorithm → hex."""

    image_id: UUID
    revision: int
    status: Status
    code: str | None
    reason: str | None
    next_step: str | None
    name: str | None
    cache_name: str
    disk_format: str | None
    virtual_size: int | None
    digests: dict[str, str]
    source: Source
    warnings: list[str]
    progress: ProgressDocument | None
    created_at: datetime
    computed_at: datetime | None
    computed_by: str | None
    deleted_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, record: ManifestRecord) -> ManifestDocument:
        """The document of a record."""
        return cls(
            image_id=UUID(record.image_id),
            revision=record.revision,
            status=record.status,
            code=record.code,
            reason=record.reason,
            next_step=NEXT_STEPS.get(record.code or ""),
            name=record.name,
            cache_name=record.cache_name,
            disk_format=record.disk_format,
            virtual_size=record.virtual_size,
            digests=dict(record.digests),
            source=Source(size=record.source_size, checksums=dict(record.source_checksums)),
            warnings=list(record.warnings),
            progress=ProgressDocument.of(record.progress),
            created_at=record.created_at,
            computed_at=record.computed_at,
            computed_by=record.computed_by,
            deleted_at=record.deleted_at,
            links=_links_of(record),
        )


def _links_of(record: ManifestRecord) -> dict[str, str]:
    here = f"/v1/manifests/{record.image_id}"
    links = {
        "self": here,
        "history": f"{here}/history",
        "revision": f"{here}/revisions/{record.revision}",
        "page": f"/images/{record.image_id}",
    }
    if record.has_block_map:
        links["bmap"] = f"{here}/bmap"
    if record.statement is not None:
        links["statement"] = f"{here}/revisions/{record.revision}/statement"
    return links


class ManifestList(Answer):
    """A page of manifests; `links.next` is there while there may be more."""

    manifests: list[ManifestDocument]
    links: dict[str, str]


class Unknown(Answer):
    """The keys of a lookup that lead to no manifest."""

    image_ids: list[UUID]
    cache_names: list[str]
    digests: list[str]


class LookupDocument(Answer):
    """Each manifest that a lookup found, once, and the keys that found none."""

    manifests: list[ManifestDocument]
    unknown: Unknown


class VersionDocument(Answer):
    """One version of the API."""

    id: str
    status: str
    links: list[dict[str, str]]


class VersionsDocument(Answer):
    """The versions of the API, and of the service."""

    versions: list[VersionDocument]
    service: dict[str, str]
