"""Pages of a list: each links to itself, and to the next one where it is full."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import request


def page_links(markers: list[str], limit: int) -> dict[str, str]:
    """The links of the page that is being answered. markers: of its items, in their order; limit: most items."""
    asked = request.args.to_dict()
    links = {"self": f"{request.path}?{urlencode(asked)}" if asked else request.path}
    if len(markers) == limit:
        links["next"] = f"{request.path}?{urlencode(asked | {'marker': markers[-1]})}"
    return links
