"""Requests that somebody else's page has a browser make: whoever sits before it has not asked for them.

A form needs no leave to be sent to another site, with an empty body and whatever lets the browser in: under `noauth`,
its being on this machine. Browsers say where a request comes from (W3C, Fetch Metadata Request Headers), to HTTPS and
to loopback addresses, and no page can have them say otherwise.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import request

from api.problems import ProblemError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing (RFC 9110, section 9.2.1), and other sites cannot read the answer."""
_ELSEWHERE = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of pages that are not ours; to it, two ports of one host are the same site."""


def refuse_other_sites() -> None:
    """Raise ProblemError for a request that changes something and comes from a page that is not ours."""
    if request.method not in _SAFE_METHODS and request.headers.get("Sec-Fetch-Site") in _ELSEWHERE:
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            "cross-site",
            "the browser says that a page of another site has made this request (Sec-Fetch-Site)",
            next_step="Ask by a program, which sends no such header. If you have asked for nothing, an open page did.",
        )
