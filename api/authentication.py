"""Who asks: what Keystone said of the token, or nobody under `noauth`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oslo_context.context import RequestContext

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KEYSTONE = "keystone"
"""The [api] auth_strategy under which `api.keystone` has authenticated a request before it comes here."""
AWAY = "manifest_service.keystone_away"
"""In a request's environment where Keystone could not be asked: a name without HTTP_, which no header takes."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as policies see it.

    is_known: whether Keystone knows the token; has_token: whether there was one. keystone_is_away: whether nobody could
    say. user_id, project_id: None where there is none. values: for oslo.policy.
    """

    is_known: bool = False
    has_token: bool = False
    keystone_is_away: bool = False
    user_id: str | None = None
    project_id: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def read_caller(environ: WSGIEnvironment) -> Caller:
    """Who asks, by what keystonemiddleware has put into the request's headers in place of all others."""
    if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        return Caller(has_token="HTTP_X_AUTH_TOKEN" in environ, keystone_is_away=AWAY in environ)
    context = RequestContext.from_environ(environ, overwrite=False)
    return Caller(
        is_known=True,
        has_token=True,
        user_id=context.user_id,
        project_id=context.project_id,
        values=dict(context.to_policy_values()),
    )


def is_local(environ: WSGIEnvironment) -> bool:
    """Whether the request comes from this machine, as far as the server in front tells."""
    return is_loopback(environ.get("REMOTE_ADDR", ""))


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own alone, be it written with a zone or as IPv4 in IPv6. Not of names."""
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None)
        return bool((mapped or parsed).is_loopback)
    return False
