"""Rules for `/v1/events`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="events:list",
        check_str=base.READER,
        scope_types=base.SCOPES,
        description="List what happened to images that the caller may see. What nodes found is shown to those alone"
        " whom verifications:list allows, and what is of no image to those whom images:see_all allows.",
        operations=[{"path": "/v1/events", "method": "GET"}],
    ),
)
