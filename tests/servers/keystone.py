"""A private Keystone: the real one, in an environment of its own (tools/make-test-venv), with users of every role."""

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgpack
import requests
from cryptography.fernet import Fernet, MultiFernet

from tests.servers import programs
from tests.servers.process import Server
from tests.servers.service import write_config

PASSWORD = "a password of the tests"


@dataclass(frozen=True)
class User:
    """Somebody with one role in one project. Names are the roles' own, and `ours` or `theirs`."""

    name: str
    user_id: str
    project: str
    project_id: str


class Keystone(Server):
    """Keystone with two projects, `ours` and `theirs`, and in each a user for each role: `reader-ours`, say."""

    name = "keystone"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._venv = programs.environment("keystone")
        self.users: dict[str, User] = {}
        self._admin_token = ""

    @property
    def url(self) -> str:
        """Where it is, with the version."""
        return f"http://127.0.0.1:{self.port}/v3"

    def service_config(self) -> dict[str, dict[str, str]]:
        """What our own configuration says to have callers authenticated here."""
        options = {
            "auth_type": "password",
            "auth_url": self.url,
            "www_authenticate_uri": self.url,
            **self.credentials("service-ours"),
            "interface": "public",
        }
        return {"api": {"auth_strategy": "keystone"}, "keystone_authtoken": options}

    def credentials(self, name: str) -> dict[str, str]:
        """How a user authenticates, in the words of clouds.yaml."""
        return {
            "username": name,
            "password": PASSWORD,
            "project_name": self.users[name].project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }

    def environment_of(self, name: str) -> dict[str, str]:
        """The variables by which OpenStack's clients authenticate as a user."""
        return {"OS_AUTH_URL": self.url} | {f"OS_{key.upper()}": value for key, value in self.credentials(name).items()}

    def token(self, name: str) -> str:
        """A new token of a user, for its project."""
        user = self.users[name]
        return self._issue(user.user_id, {"project": {"id": user.project_id}})

    def system_token(self) -> str:
        """A new token of the administrator, for the whole system."""
        return self._issue(self._bootstrap_user_id(), {"system": {"all": True}})

    def revoke(self, token: str) -> None:
        self.call("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def expired_token(self, name: str) -> str:
        """A token of a user that expired a minute ago, made of a good one with Keystone's own key."""
        keys = sorted((self.folder / "fernet-keys").iterdir(), key=lambda path: int(path.name), reverse=True)
        fernet = MultiFernet([Fernet(path.read_bytes()) for path in keys])
        token = self.token(name)
        payload = msgpack.unpackb(fernet.decrypt(token + "=" * (-len(token) % 4)))
        past = time.time() - 60
        changed = [past if isinstance(each, float) else each for each in payload]
        return fernet.encrypt(msgpack.packb(changed)).decode().rstrip("=")

    def application_credential(self, name: str) -> dict[str, str]:
        """A new application credential of a user, in the words of clouds.yaml."""
        user = self.users[name]
        body = {"application_credential": {"name": uuid4().hex}}
        path = f"/users/{user.user_id}/application_credentials"
        made = self.call("POST", path, json=body, token=self.token(name))["application_credential"]
        return {"application_credential_id": made["id"], "application_credential_secret": made["secret"]}

    def prepare(self) -> None:
        shutil.copy(self._venv / "keystone.sqlite", self.folder / "keystone.sqlite")
        for keys in ("fernet-keys", "credential-keys"):
            (self.folder / keys).mkdir(mode=0o700)
            for number in ("0", "1"):
                (self.folder / keys / number).write_bytes(Fernet.generate_key())
        write_config(
            self.folder / "keystone.conf",
            {
                "database": {"connection": f"sqlite:///{self.folder}/keystone.sqlite"},
                "identity": {"password_hash_rounds": "4"},  # Its default takes a quarter of a second each time.
                "cache": {"enabled": "false"},  # What is revoked is so at once.
                "fernet_tokens": {"key_repository": self.folder / "fernet-keys"},
                "fernet_receipts": {"key_repository": self.folder / "fernet-keys"},
                "credential": {"key_repository": self.folder / "credential-keys"},
                "DEFAULT": {"use_stderr": "true"},
            },
        )
        subprocess.run(
            [
                self._venv / "bin" / "keystone-manage",
                f"--config-file={self.folder}/keystone.conf",
                "bootstrap",
                f"--bootstrap-password={PASSWORD}",
                f"--bootstrap-public-url={self.url}",
                "--bootstrap-region-id=RegionOne",
            ],
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str | Path]:
        return [
            self._venv / "bin" / "uwsgi",
            f"--http-socket=127.0.0.1:{self.port}",
            "--module=keystone.wsgi.api:application",
            f"--virtualenv={self._venv}",
            "--master",
            "--processes=1",
            "--threads=2",
            "--enable-threads",
            "--lazy-apps",
            "--die-on-term",
            "--need-app",
            "--buffer-size=65535",
            "--add-header=Connection: close",  # It drops connections that are kept alive, between two requests.
            "--pyargv=",
        ]

    def environment(self) -> Mapping[str, str]:
        return {"OS_KEYSTONE_CONFIG_DIR": str(self.folder)}

    def ask(self) -> None:
        requests.get(self.url, timeout=5).raise_for_status()

    def start(self) -> None:
        super().start()
        if not self.users:
            self._populate()

    def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Any:
        """What Keystone answers to a call, by default of its administrator. Raises `requests.HTTPError`."""
        headers = {"X-Auth-Token": token or self._admin_token, "Connection": "close", **options.pop("headers", {})}
        response = requests.request(method, self.url + path, headers=headers, timeout=60, **options)
        if not response.ok:
            raise requests.HTTPError(f"{method} {path}: {response.status_code} {response.text}", response=response)
        return response.json() if response.content else None

    def _populate(self) -> None:
        admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        self._admin_token = self._authenticate(admin, scope)
        self.call("POST", "/roles", json={"role": {"name": "auditor"}})
        roles = {role["name"]: role["id"] for role in self.call("GET", "/roles")["roles"]}
        for project in ("ours", "theirs"):
            body = {"project": {"name": project, "domain_id": "default"}}
            project_id = self.call("POST", "/projects", json=body)["project"]["id"]
            for role in ("admin", "member", "reader", "service", "auditor"):
                name = f"{role}-{project}"
                body = {"user": {"name": name, "password": PASSWORD, "domain_id": "default"}}
                user_id = self.call("POST", "/users", json=body)["user"]["id"]
                self.call("PUT", f"/projects/{project_id}/users/{user_id}/roles/{roles[role]}")
                self.users[name] = User(name, user_id, project, project_id)

    def _bootstrap_user_id(self) -> str:
        found: str = self.call("GET", "/users?name=admin")["users"][0]["id"]
        return found

    def _issue(self, user_id: str, scope: Mapping[str, Any]) -> str:
        return self._authenticate({"id": user_id, "password": PASSWORD}, scope)

    def _authenticate(self, user: Mapping[str, Any], scope: Mapping[str, Any]) -> str:
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        headers = {"Connection": "close"}
        response = requests.post(f"{self.url}/auth/tokens", json=body, headers=headers, timeout=60)
        response.raise_for_status()
        return response.headers["X-Subject-Token"]
