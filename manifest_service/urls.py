"""URLs of other services, as messages may name them."""

from __future__ import annotations

from urllib.parse import urlsplit

from manifest_service.errors import UsageError


def place_of(url: str, service: str) -> str:
    """Host and port of a URL, without the password that it may hold.

    service: whose it is, as `Glance`. Raises UsageError for what is no URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise UsageError("bad-url", f"the URL of {service} is none; http://HOST:PORT was expected")
    return f"{parts.hostname}:{port}" if port else parts.hostname
