"""Which of two things that were said of an image, or of one of its members, is the newer.

Whoever says it says its time too, and may be wrong or lie. So a time that lies ahead counts as told only among its
like: it is taken in, and then gives way to whatever is said with a time that can be. One such message, forged or of a
host whose clock is wrong, would otherwise stay the newest until its time has come. Nothing is turned away by this, so
that a database whose own clock is set back loses nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

CLOCKS_APART = timedelta(minutes=5)
"""How far Glance's clock may be ahead of the database's: what Kerberos, too, allows hosts of one site."""


def is_newer(order: str, than: str, now: datetime) -> bool:
    """Whether an observation counts before one that was taken in.

    order, than: of either, beginning with Glance's time and that of the message. now: by the database's clock.
    """
    latest = _latest(now)
    for mine, other in zip(_times(order), _times(than), strict=False):
        if mine != other:
            return mine > other or mine <= latest < other
    return order > than


def is_ahead(order: str, now: datetime) -> bool:
    """Whether one of an observation's times cannot be yet."""
    return max(_times(order)) > _latest(now)


def not_ahead(time: datetime, now: datetime) -> datetime:
    """`time`, or now where that cannot be yet."""
    return time if time <= now + CLOCKS_APART else now


def _times(order: str) -> list[str]:
    return order.split("|", 2)[:2]


def _latest(now: datetime) -> str:
    return (now + CLOCKS_APART).isoformat()
