"""Rules for `/v1/lookups`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="lookups:create",
        check_str=base.READER_OR_NODE,
        scope_types=base.SCOPES,
        description="Look up many manifests at once. Images that the caller may not see are answered as unknown.",
        operations=[{"path": "/v1/lookups", "method": "POST"}],
    ),
)
