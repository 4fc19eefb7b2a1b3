"""Whether the caller may, which is settled before a resource is called, and what he may see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from flask import Flask, Response, g, request
from oslo_config import cfg
from oslo_policy import policy
from werkzeug.routing import Rule

from api import policies
from api.authentication import Caller, is_local, read_caller
from api.policies import base, verifications
from api.problems import RETRY_AFTER, ProblemError
from manifest_service.errors import UsageError
from manifest_service.manifests.visibility import EVERYTHING, Visibility

_CONVERTER = re.compile(r"<(?:[^<>:]+:)?([^<>]+)>")

Calls = Mapping[tuple[str, str], str]
"""(method, path as OpenAPI writes it) → name of the rule that decides on it."""


def authorize_by_policies(app: Flask, conf: cfg.ConfigOpts, where: str | None) -> None:
    """Have every request of this application decided on by policies. Call it when all routes are added.

    where: callers get their tokens. Raises UsageError for policies that cannot be read, and LookupError for a route
    that no rule names.
    """
    calls = calls_of(policies.list_rules())
    require_rules(app.url_map.iter_rules(), calls)
    enforcer = load_policies(conf)
    app.before_request(lambda: _authorize(enforcer, calls, where))
    app.after_request(_keep_from_others)


def load_policies(conf: cfg.ConfigOpts) -> policy.Enforcer:
    """Read the policy files now, so that a mistake in one is told at the start. Raises UsageError."""
    enforcer = policies.make_enforcer(conf)
    try:
        enforcer.load_rules()
        enforcer.check_rules(raise_on_violation=True)
    except (policy.InvalidDefinitionError, ValueError, TypeError, AttributeError, OSError, cfg.Error) as error:
        raise UsageError("bad-policy", f"the file of [oslo_policy] policy_file cannot be used: {error}") from error
    return enforcer


def let_everybody(app: Flask, *, is_open: bool) -> None:
    """Have every request of this application allowed. is_open: also those that come from other machines."""
    app.before_request(lambda: _let_in(is_open=is_open))


def seen_by(*, nodes: bool = False) -> Visibility:
    """What the caller of this request may see.

    nodes: whether what nodes reported is asked for, too; it is seen only where it is asked for and allowed.
    """
    if g.enforcer is None:
        return EVERYTHING
    if "projects" not in g:
        g.projects = None if _allows(base.SEE_ALL) else frozenset(filter(None, [caller().project_id]))
    return Visibility(g.projects, nodes=nodes and _allows(verifications.LIST))


def caller() -> Caller:
    """Who makes this request."""
    found: Caller = g.caller
    return found


def require(rule: str) -> None:
    """Raise ProblemError where a further rule keeps the caller from what this request asks for."""
    if g.enforcer is not None and not _allows(rule):
        raise _forbidden(rule)


def require_rules(routes: Iterable[Rule], calls: Calls) -> None:
    """Raise LookupError for a route that no rule names: nobody would have thought of who may call it."""
    missing = {call for route in routes for call in _calls_by(route) if call not in calls}
    if missing:
        raise LookupError(f"no policy decides on {', '.join(f'{method} {path}' for method, path in sorted(missing))}")


def calls_of(rules: Iterable[policy.RuleDefault]) -> Calls:
    """Which calls these rules decide on."""
    return {
        (operation["method"], operation["path"]): rule.name
        for rule in rules
        if isinstance(rule, policy.DocumentedRuleDefault)
        for operation in rule.operations
    }


def _calls_by(route: Rule) -> Iterable[tuple[str, str]]:
    """The calls of a route. HEAD is a GET, and OPTIONS only tells which methods there are."""
    path = _CONVERTER.sub(r"{\1}", route.rule)
    return ((method, path) for method in (route.methods or set()) - {"HEAD", "OPTIONS"})


def _let_in(*, is_open: bool) -> None:
    """Let everybody do everything, where everybody is somebody on this machine."""
    if not is_open and not is_local(request.environ):
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            "not-local",
            "nobody is authenticated here ([api] auth_strategy is noauth), and this request comes from elsewhere",
            next_step="Set [api] auth_strategy to keystone, or [api] listen_without_auth to true.",
        )
    g.caller, g.enforcer = Caller(), None


def _authorize(enforcer: policy.Enforcer, calls: Calls, where: str | None) -> None:
    if request.url_rule is None or request.method == "OPTIONS":
        return  # There is no such resource, or nothing of it is told.
    g.enforcer = enforcer
    g.caller = found = read_caller(request.environ)
    method = "GET" if request.method == "HEAD" else request.method
    rule = calls[method, _CONVERTER.sub(r"{\1}", request.url_rule.rule)]
    if not _allows(rule):
        raise _refusal(found, rule, where)


def _allows(rule: str) -> bool:
    """Whether a rule allows it to the caller of this request."""
    enforcer: policy.Enforcer = g.enforcer
    return bool(enforcer.authorize(rule, {}, dict(caller().values)))


def _refusal(found: Caller, rule: str, where: str | None) -> ProblemError:
    if found.is_known:
        return _forbidden(rule)
    if found.keystone_is_away:
        error = ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "keystone-away",
            "Keystone cannot be asked now whether the token is valid",
            next_step="Ask again soon; if it stays so, the log of this API says why.",
        )
        error.headers["Retry-After"] = RETRY_AFTER
        return error
    if found.has_token:
        error = ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "invalid-token",
            "Keystone does not know this token, or it has expired or was revoked",
            next_step="Get another one: `openstack token issue`.",
        )
    else:
        error = ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "authentication-required",
            "this needs a token of Keystone's in the header X-Auth-Token, and there is none",
            next_step="Get one: `openstack token issue`; the commands of a node take --os-cloud.",
        )
    error.headers["WWW-Authenticate"] = f'Keystone uri="{where}"' if where else "Keystone"
    return error


def _forbidden(rule: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        f"the policy {rule} does not allow this to the token's user, by its roles and its scope",
        next_step="docs/authentication.md says which role may; an operator gives it by `openstack role add`.",
    )


def _keep_from_others(response: Response) -> Response:
    """Keep caches that several callers share from giving one's answer to another."""
    response.vary.add("X-Auth-Token")
    response.headers.setdefault("Cache-Control", "no-cache")
    if not response.cache_control.no_store:
        response.cache_control.private = True
    return response
