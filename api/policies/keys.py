"""Rules for `/v1/keys`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="keys:show",
        check_str=base.PUBLIC,
        description="Show the public keys that statements are signed with. They say nothing of any project, and whoever"
        " was handed a statement verifies it with them.",
        operations=[{"path": "/v1/keys", "method": "GET"}, {"path": "/v1/keys/{key_id}", "method": "GET"}],
    ),
)
