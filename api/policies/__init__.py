"""Who may do what, by default: one module a resource, each rule with the calls that it decides on.

The calls that a rule names are more than documentation: requests are authorised by the rule that names theirs
(`api.authorization`), and a call that no rule names is refused when the application is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from oslo_config import cfg
from oslo_policy import policy

from api.policies import (
    base,
    computations,
    events,
    exports,
    keys,
    lookups,
    manifests,
    pages,
    verifications,
    versions,
)
from manifest_service import config

_MODULES = (base, manifests, lookups, events, exports, verifications, computations, keys, pages, versions)


def list_rules() -> Iterable[policy.RuleDefault]:
    """All rules with their defaults; oslo.policy's own tools find them by an entry point."""
    return chain.from_iterable(module.RULES for module in _MODULES)


def make_enforcer(conf: cfg.ConfigOpts) -> policy.Enforcer:
    """What decides by these rules, and by the files that [oslo_policy] names."""
    enforcer = policy.Enforcer(conf)
    enforcer.register_defaults(list(list_rules()))
    return enforcer


def get_enforcer() -> policy.Enforcer:
    """For oslopolicy-validator and the like: by the configuration in its usual places."""
    return make_enforcer(config.load())
