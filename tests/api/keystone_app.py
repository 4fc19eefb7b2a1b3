"""The application as behind Keystone, with callers that are said by the headers that keystonemiddleware would set."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

from flask import Flask
from werkzeug.test import TestResponse

from api.app import create_app
from manifest_service import config
from manifest_service.manifests.database import Database
from tests.servers.service import write_config

WHERE = "http://keystone.example/v3"
OURS = "1" * 32
"""The project of all callers that have one."""
THEIRS = "2" * 32
"""Another project."""


def caller(*roles: str, project: str | None = OURS, **others: str) -> dict[str, str]:
    """The headers of a caller. others: further headers, with `_` for `-`."""
    headers = {"X-Auth-Token": "any", "X-Identity-Status": "Confirmed", "X-User-Id": "a-user"}
    headers |= {"X-Roles": ",".join(roles)}
    if project is not None:
        headers["X-Project-Id"] = project
    return headers | {name.replace("_", "-"): value for name, value in others.items()}


def make_app(database: Database, folder: Path, policies: str = "") -> Flask:
    """The application without the part that asks Keystone. policies: what policy.yaml says."""
    (folder / "policy.yaml").write_text(policies)
    file = write_config(
        folder / "keystone.conf",
        {
            "api": {"auth_strategy": "keystone"},
            "oslo_policy": {"policy_file": folder / "policy.yaml"},
        },
    )
    with patch("api.keystone.authenticate", return_value=WHERE):
        return create_app(config.load([str(file)]), database)


def ask(app: Flask, method: str, path: str, headers: dict[str, str], **options: Any) -> TestResponse:
    """What the application answers, read to its end."""
    return app.test_client().open(path, method=method, headers=headers, buffered=True, **options)
