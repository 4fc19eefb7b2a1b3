"""Rules for what the service says of itself."""

from __future__ import annotations

from oslo_policy import policy

from api.policies import base

RULES = (
    policy.DocumentedRuleDefault(
        name="versions:show",
        check_str=base.PUBLIC,
        description="Show the versions of the API, and its description: what clients read before they authenticate.",
        operations=[{"path": "/", "method": "GET"}, {"path": "/v1/openapi.json", "method": "GET"}],
    ),
    policy.DocumentedRuleDefault(
        name="healthcheck:show",
        check_str=base.PUBLIC,
        description="Show whether the service can answer, and what is wrong with it: load balancers have no token. It"
        " tells the length and the age of the queue, numbers of images and files by code, and the id of an image that"
        " has waited for more than an hour.",
        operations=[{"path": "/healthcheck", "method": "GET"}],
    ),
    policy.DocumentedRuleDefault(
        name="metrics:show",
        check_str=base.ADMIN_OR_AUDITOR,
        scope_types=base.SCOPES,
        description="Show the figures of the whole cloud, violations among them. Prometheus has no token: set this to"
        ' "@" where the proxy or the network lets nobody else reach the path, or have it scrape an API of its own, with'
        " noauth, on loopback.",
        operations=[{"path": "/metrics", "method": "GET"}],
    ),
)
