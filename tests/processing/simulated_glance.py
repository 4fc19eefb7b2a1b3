"""A Glance in memory, as far as its list is concerned."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from manifest_service.errors import DownloadCode, DownloadFailed
from manifest_service.images.glance_list import Cursor, ListFilter, Page
from manifest_service.images.glance_record import ImageRecord
from tests.builders import MD5, NOON


def record(image_id: str, **changes: object) -> ImageRecord:
    """What Glance records of an active qcow2 image of noon."""
    described = ImageRecord(
        image_id=image_id,
        disk_format="qcow2",
        size=2949120,
        checksums={"md5": MD5},
        status="active",
        name="q1",
        owner="p1",
        visibility="shared",
        container_format="bare",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(described, **changes)  # type: ignore[arg-type]


def numbered(number: int) -> str:
    """An image id."""
    return f"{number:08}-1111-4111-8111-111111111111"


@dataclass
class SimulatedGlance:
    """Its images, in the order of their creation. What a test sets, it does."""

    images: dict[str, ImageRecord] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    is_admin: bool = True
    page: int = 2
    place: str = "glance.example.org"
    pages_until_away: int = 1000
    asked_for: list[str] = field(default_factory=list)
    """Images that were asked for one by one."""
    before_show: Callable[[str], object] = lambda _: None

    def add(self, *images: ImageRecord) -> None:
        self.images |= {image.image_id: image for image in images}

    def read(self, cursor: Cursor, wanted: ListFilter) -> Page:
        if self.pages_until_away == 0:
            raise DownloadFailed(DownloadCode.GLANCE_AWAY, "it went away")
        self.pages_until_away -= 1
        shown = [image for image in self.images.values() if (image.image_id in self.hidden) is cursor.hidden]
        names = [image.image_id for image in shown]
        begin = 0 if cursor.marker is None else names.index(cursor.marker) + 1
        part = shown[begin : begin + self.page]
        following = replace(cursor, marker=part[-1].image_id) if begin + self.page < len(shown) else None
        if following is None and not cursor.hidden:
            following = Cursor(hidden=True)
        return Page(datetime.now(UTC), tuple(part), (), following)

    def show(self, image_id: str) -> ImageRecord | None:
        self.before_show(image_id)
        self.asked_for.append(image_id)
        return self.images.get(image_id)

    def sees_everything(self) -> bool:
        return self.is_admin
