"""Rules for `/v1/manifests/{image_id}/computations`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

ANNOUNCE = "computations:announce"

RULES = (
    policy.DocumentedRuleDefault(
        name="computations:create",
        check_str=base.ADMIN,
        scope_types=base.SCOPES,
        description="Ask for a manifest to be computed, or computed again. It has the whole image read.",
        operations=[{"path": "/v1/manifests/{image_id}/computations", "method": "POST"}],
    ),
    policy.RuleDefault(
        name=ANNOUNCE,
        check_str=base.ADMIN,
        scope_types=base.SCOPES,
        description="Announce an image with the request for its computation (the member `image` of the body), its owner"
        " and its visibility included; needed beside computations:create.",
    ),
)
