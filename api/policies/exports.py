"""Rules for `/v1/export`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="exports:create",
        check_str=base.ADMIN_OR_AUDITOR,
        scope_types=base.SCOPES,
        description="Export the manifests of all images that the caller may see. An export keeps a thread of the API"
        " busy for as long as it is read.",
        operations=[{"path": "/v1/export", "method": "GET"}],
    ),
)
