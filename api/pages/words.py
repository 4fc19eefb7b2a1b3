"""How values look to people: sizes, times, and names that somebody else chose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup

from manifest_service.shown import visible

_COMMAND = re.compile(r"`([^`]+)`")


def title(name: str | None) -> str:
    """An image's name as a page's title."""
    if name is None:
        return "(no name)"
    return visible(name) if name.strip() else "(blank name)"


def isolated(name: str | None) -> Markup:
    """An image's name, kept from changing the direction of the text around it."""
    return Markup("<bdi>{}</bdi>").format(title(name))


def sentence(text: str) -> str:
    """A reason as a sentence of its own: visible, and beginning with a capital letter."""
    return visible(text[:1].upper() + text[1:])


def advice(text: str) -> Markup:
    """A next step, its `commands` set apart."""
    parts = _COMMAND.split(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def leading(digests: Mapping[str, str], algorithm: str) -> dict[str, str]:
    """Digests with the one of this algorithm before the others."""
    return dict(sorted(digests.items(), key=lambda pair: (pair[0] != algorithm, pair[0])))


def exact(count: int) -> str:
    """Bytes, all of them: `25,165,824 bytes`."""
    return f"{count:,} byte" + ("" if count == 1 else "s")


def moment(at: datetime) -> Markup:
    """A time in UTC, for people and for programs."""
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M:%S} UTC"
    )


def share(done: int, total: int) -> str:
    """How much is done, in whole percent; never 100 before all is."""
    return f"{done * 100 // total} %"
