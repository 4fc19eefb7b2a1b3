"""Rules for `/v1/manifests`."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="manifests:list",
        check_str=base.READER,
        scope_types=base.SCOPES,
        description="List the manifests of the images that the caller may see.",
        operations=[{"path": "/v1/manifests", "method": "GET"}],
    ),
    policy.DocumentedRuleDefault(
        name="manifests:show",
        check_str=base.READER_OR_NODE,
        scope_types=base.SCOPES,
        description="Show the manifest of an image that the caller may see, with its block map and its statement.",
        operations=[
            {"path": "/v1/manifests/{image_id}", "method": "GET"},
            {"path": "/v1/manifests/{image_id}/bmap", "method": "GET"},
            {"path": "/v1/manifests/{image_id}/statement", "method": "GET"},
            {"path": "/v1/manifests/{image_id}/revisions/{revision}", "method": "GET"},
            {"path": "/v1/manifests/{image_id}/revisions/{revision}/statement", "method": "GET"},
        ],
    ),
    policy.DocumentedRuleDefault(
        name="manifests:history",
        check_str=base.READER,
        scope_types=base.SCOPES,
        description="Show what happened to an image that the caller may see. What nodes found of it is shown to those"
        " alone whom verifications:list allows.",
        operations=[{"path": "/v1/manifests/{image_id}/history", "method": "GET"}],
    ),
)
