"""Whose images a caller may see. Every query that answers a caller takes this, so that no door can forget it.

The rule is Glance's own (`is_image_visible`): one's own project's images, public and community ones, and those that are
shared with one's project, whether the project has accepted them, rejected them, or not looked yet. Glance also shows an
image without an owner to everybody. Here an owner may be missing because nobody has told it, so that such an image is
shown to those who see everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select, true, union
from sqlalchemy.orm import InstrumentedAttribute

from manifest_service.manifests.models import Image, ImageMember

_OPEN = ("public", "community")
"""Visibilities of images that every project may see."""

_image, _member = Image.__table__.c, ImageMember.__table__.c


@dataclass(frozen=True)
class Visibility:
    """What a caller may see.

    projects: the images that these projects may see in Glance; None: all images. nodes: whether also what compute nodes
    reported of them, which names nodes.
    """

    projects: frozenset[str] | None = frozenset()
    nodes: bool = False

    @property
    def is_unlimited(self) -> bool:
        """Whether all images may be seen."""
        return self.projects is None


EVERYTHING = Visibility(None, nodes=True)


def ways_to_see(seen_by: Visibility) -> list[ColumnElement[bool]]:
    """The ways in which an image may be seen, each a condition that an index of images answers in order.

    An image may be seen in several ways. Whoever needs a page of a long list reads a page of each, and puts them
    together; one condition of them all would be answered by reading the whole list.
    """
    if seen_by.projects is None:
        return [true()]
    shared = select(_member.image_id).where(_member.member.in_(seen_by.projects), _member.is_member == true())
    return [
        *(_image.visibility == each for each in _OPEN),
        *(_image.owner == project for project in sorted(seen_by.projects)),
        (_image.visibility == "shared") & _image.image_id.in_(shared),
    ]


def may_see(seen_by: Visibility) -> ColumnElement[bool]:
    """That a row of images may be seen."""
    return true() if seen_by.is_unlimited else or_(*ways_to_see(seen_by))


def may_see_image(seen_by: Visibility, image_id: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """That the image of this id, in a row of another table, may be seen. What is of no known image may not be."""
    if seen_by.is_unlimited:
        return true()
    # A union: of one condition that any of the ways fulfils, databases would read the other table from end to end.
    ways = union(*(select(_image.image_id).where(way) for way in ways_to_see(seen_by))).subquery()
    return image_id.in_(select(ways.c.image_id))
