"""What ends TLS before the API, each with its example in etc/tls as it is shipped, but for addresses and files."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from tests.servers.authority import Authority
from tests.servers.process import Server
from tests.servers.programs import find

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "etc" / "tls"
HOST = "manifests.example"
"""The name under which the examples are reached from outside."""
PROMETHEUS = "127.0.0.10"
"""The one address that is let in to /metrics: all of 127.0.0.0/8 is this machine."""


def replaced(path: Path, replacements: Mapping[str, str]) -> str:
    """The text of an example with parts of it replaced. Each must be in it."""
    text = path.read_text()
    for part, by in replacements.items():
        assert part in text, f"{path.name} no longer says {part!r}"
        text = text.replace(part, by)
    return text


class TlsServer(Server):
    """What they have in common: a certificate for 127.0.0.1 and manifests.example."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self.authority = authority

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        certificate, key = self.authority.issue(self.folder, "127.0.0.1", HOST)
        self.configure(certificate, key)
        if user := self.user():
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, user)

    def configure(self, certificate: Path, key: Path) -> None:
        """Write the configuration."""
        raise NotImplementedError

    def ask(self) -> None:
        requests.get(f"{self.url}/healthcheck", verify=str(self.authority.certificate), timeout=60).raise_for_status()


class Gunicorn(TlsServer):
    """The API itself with TLS. config: its manifest-service.conf."""

    name = "gunicorn"

    def __init__(self, folder: Path, authority: Authority, config: Path) -> None:
        super().__init__(folder, authority)
        self._config = config

    def configure(self, certificate: Path, key: Path) -> None:
        text = replaced(
            _EXAMPLES / "gunicorn.conf.py",
            {
                'bind = "[::]:9494"': f'bind = "127.0.0.1:{self.port}"',
                "/etc/manifest-service/tls/certificate.pem": str(certificate),
                "/etc/manifest-service/tls/key.pem": str(key),
                "keepalive = 5": "keepalive = 120",  # A test may take its time between two requests.
            },
        )
        (self.folder / "gunicorn.conf.py").write_text(text)

    def command(self) -> Sequence[str | Path]:
        gunicorn = Path(sys.executable).with_name("gunicorn")
        return [gunicorn, f"--config={self.folder}/gunicorn.conf.py", "api.wsgi:application"]

    def environment(self) -> Mapping[str, str]:
        return {"MANIFEST_SERVICE_CONFIG_FILES": str(self._config), "PYTHONPATH": str(_ROOT)}


class Nginx(TlsServer):
    """nginx in front of one API, with of Debian's nginx.conf what an example in sites-enabled builds upon.

    Root runs it as an ordinary user, who must be able to reach the folder.
    """

    name = "nginx"

    def __init__(self, folder: Path, authority: Authority, upstream: int) -> None:
        """upstream: the port of the API."""
        super().__init__(folder, authority)
        self._program = find("nginx", "nginx")
        self._upstream = upstream

    def user(self) -> str | None:
        return "www-data" if os.geteuid() == 0 else None

    def configure(self, certificate: Path, key: Path) -> None:
        site = replaced(
            _EXAMPLES / "nginx.conf",
            {
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "listen [::]:443 ssl;": "",
                "/etc/ssl/certs/manifests.example.pem": str(certificate),
                "/etc/ssl/private/manifests.example.key": str(key),
                "127.0.0.1:9494": f"127.0.0.1:{self._upstream}",
                "/var/log/nginx/manifest-service.log": f"{self.folder}/access.log",
                "192.0.2.10": PROMETHEUS,
            },
        )
        (self.folder / "site.conf").write_text(site)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        (self.folder / "nginx.conf").write_text(
            f"worker_processes 1;\ndaemon off;\npid {self.folder}/nginx.pid;\nerror_log stderr;\n"
            "events { worker_connections 768; }\n"
            f"http {{\n{folders}    access_log off;\n    include {self.folder}/site.conf;\n}}\n"
        )

    def command(self) -> Sequence[str | Path]:
        # -e: not even before it has read its configuration does it write to /var/log.
        return [self._program, "-e", "stderr", "-p", self.folder, "-c", self.folder / "nginx.conf"]

    def accesses(self) -> str:
        """Its own log of who asked what."""
        return (self.folder / "access.log").read_text()


class HAProxy(TlsServer):
    """HAProxy in front of two APIs, with of Debian's haproxy.cfg what an example builds upon.

    Root runs it as an ordinary user, who must be able to reach the folder.
    """

    name = "haproxy"

    def __init__(self, folder: Path, authority: Authority, upstreams: Sequence[int]) -> None:
        """upstreams: the ports of both APIs."""
        super().__init__(folder, authority)
        self._program = find("haproxy", "haproxy")
        self._upstreams = upstreams

    def user(self) -> str | None:
        return "haproxy" if os.geteuid() == 0 else None

    def configure(self, certificate: Path, key: Path) -> None:
        one, other = self._upstreams
        together = self.folder / "both.pem"
        together.write_bytes(certificate.read_bytes() + key.read_bytes())
        example = replaced(
            _EXAMPLES / "haproxy.cfg",
            {
                "bind :::9494 v4v6 ssl": f"bind 127.0.0.1:{self.port} ssl",
                "/etc/haproxy/manifests.example.pem": str(together),
                "192.0.2.21:9494": f"127.0.0.1:{one}",
                "192.0.2.22:9494": f"127.0.0.1:{other}",
                "192.0.2.10": PROMETHEUS,
            },
        )
        before = "global\n    log stdout format raw local0\ndefaults\n    log global\n\n"
        (self.folder / "haproxy.cfg").write_text(before + example)

    def command(self) -> Sequence[str | Path]:
        return [self._program, "-db", "-f", self.folder / "haproxy.cfg"]

    def accesses(self) -> str:
        """Its own log of who asked what."""
        return self.log.read_text()
