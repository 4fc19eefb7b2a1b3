"""Rules for the pages that people read in a browser."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="pages:images",
        check_str=base.READER,
        scope_types=base.SCOPES,
        description="Show the pages of images that the caller may see.",
        operations=[{"path": "/images", "method": "GET"}, {"path": "/images/{image_id}", "method": "GET"}],
    ),
    policy.DocumentedRuleDefault(
        name="pages:fleet",
        check_str=base.ADMIN_OR_AUDITOR,
        scope_types=base.SCOPES,
        description="Show the pages of what nodes reported.",
        operations=[{"path": "/fleet", "method": "GET"}, {"path": "/fleet/files", "method": "GET"}],
    ),
    policy.DocumentedRuleDefault(
        name="pages:files",
        check_str=base.PUBLIC,
        description="Get the style and the scripts of the pages, which are the same for everybody.",
        operations=[{"path": "/pages/{filename}", "method": "GET"}],
    ),
)
