"""The personas that the rules of all resources are made of, and who sees the images of all projects."""

from __future__ import annotations

from oslo_policy import policy

PUBLIC = "@"
"""Everybody, with a token or without."""
ADMIN = "rule:admin"
ADMIN_OR_AUDITOR = "rule:admin or rule:auditor"
ADMIN_OR_NODE = "rule:admin or rule:node"
READER = "rule:admin or rule:auditor or rule:project_reader"
READER_OR_NODE = "rule:admin or rule:auditor or rule:project_reader or rule:node"

SCOPES = ["project", "system"]
"""Scopes of tokens. A domain's has no images of its own, and an unscoped one no roles."""

SEE_ALL = "images:see_all"

RULES = (
    policy.RuleDefault("admin", "role:admin", description="Operators: in any project, or in the system."),
    policy.RuleDefault(
        "auditor",
        "role:auditor",
        description="Who sees everything and changes nothing. Keystone has no such role before an operator makes it.",
    ),
    policy.RuleDefault(
        "project_reader",
        "role:reader or role:member",
        description="Who works in a project: sees of images what Glance would show of them.",
    ),
    policy.RuleDefault("node", "role:service", description="Compute nodes, and other services of the cloud."),
    policy.RuleDefault(
        SEE_ALL,
        "rule:admin or rule:auditor or rule:node",
        description="See the images of all projects, in whatever call. All others see those that their project may see"
        " in Glance: its own, public and community ones, and those that are shared with it.",
    ),
)
