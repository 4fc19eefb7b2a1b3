"""Rules for `/v1/verifications`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

LIST = "verifications:list"

RULES = (
    policy.DocumentedRuleDefault(
        name="verifications:create",
        check_str=base.ADMIN_OR_NODE,
        scope_types=base.SCOPES,
        description="Report what a node found of its files. The id of the user who reports is recorded.",
        operations=[{"path": "/v1/verifications", "method": "POST"}],
    ),
    policy.DocumentedRuleDefault(
        name=LIST,
        check_str=base.ADMIN_OR_AUDITOR,
        scope_types=base.SCOPES,
        description="See what nodes reported, in this list and in histories, events and pages. It names compute nodes,"
        " which projects are not told elsewhere either.",
        operations=[{"path": "/v1/verifications", "method": "GET"}],
    ),
)
