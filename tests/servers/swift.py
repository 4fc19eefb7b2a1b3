"""A private Swift: proxy, account, container and object server, each one process, with one replica on one "disk".

Its proxy also speaks S3 (s3api, which Swift's operators run in production), so that it is the S3 server of the tests,
too. Both know one user of tempauth. The environment is made by tools/make-test-venv.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from pathlib import Path

import requests

from tests.servers import programs
from tests.servers.process import Server

ACCOUNT, USER, KEY = "glance", "images", "a-key-that-no-log-may-hold"
REGION = "us-east-1"
"""What s3api expects requests to be signed for, unless it is told otherwise."""

_KINDS = ("account", "container", "object")
_RUN = """
import sys
from swift.common.utils import set_swift_dir
set_swift_dir(sys.argv[1])
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[2], sys.argv[3], verbose=True))
"""
_MAKE_RING = """
import sys
from swift.common.ring import RingBuilder
path, port = sys.argv[1:]
builder = RingBuilder(4, 1, 0)
builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk", "weight": 1})
builder.rebalance()
builder.get_ring().save(path)
"""
_CACHE = '''
"""What memcached would keep for the proxy: tokens."""


class Cache:
    def __init__(self):
        self.kept = {}

    def get(self, key, **_):
        return self.kept.get(key)

    def set(self, key, value, **_):
        self.kept[key] = value

    def delete(self, key, **_):
        self.kept.pop(key, None)


def filter_factory(global_conf, **conf):
    cache = Cache()

    def make(application):
        def answer(environ, start_response):
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return answer

    return make
'''


class _Part(Server):
    """One of Swift's servers; `folder` holds what they share."""

    kind = ""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.log = folder / f"{kind}.log"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"swift-{self.kind}"

    @property
    def config_file(self) -> Path:
        return self.folder / f"{self.kind}-server.conf"

    def prepare(self) -> None:
        options = {"devices": self.folder / "devices", "mount_check": "false", "disable_fallocate": "true"}
        _write(
            self.config_file,
            {
                "DEFAULT": {**_common(self), **options},
                "pipeline:main": {"pipeline": f"{self.kind}-server"},
                f"app:{self.kind}-server": {"use": f"egg:swift#{self.kind}"},
            },
        )

    def command(self) -> Sequence[str | Path]:
        return [_python(), "-c", _RUN, self.folder, self.config_file, f"{self.kind}-server"]

    def environment(self) -> Mapping[str, str]:
        # eventlet's warning about itself; and the cache, which is in the folder.
        return {"PYTHONPATH": str(self.folder), "PYTHONWARNINGS": "ignore"}

    def ask(self) -> None:
        requests.get(f"http://127.0.0.1:{self.port}/recon/version", timeout=5)


class Swift(_Part):
    """All of it. `endpoint` is where both of its interfaces are."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "proxy")
        self._parts = [_Part(folder, kind) for kind in _KINDS]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def auth_url(self) -> str:
        """Of Swift's own first version of authentication."""
        return f"{self.endpoint}/auth/v1.0"

    @property
    def s3_access_key(self) -> str:
        return f"{ACCOUNT}:{USER}"

    def prepare(self) -> None:
        (self.folder / "devices" / "disk").mkdir(parents=True)
        try:
            os.setxattr(self.folder / "devices", "user.test", b"1" * 100)
        except OSError:
            programs.missing("Swift needs a file system with extended attributes under the tests' temporary folder")
        (self.folder / "token_cache.py").write_text(_CACHE)
        _write(self.folder / "swift.conf", {"swift-hash": {"swift_hash_path_suffix": "tests"}})
        for part in self._parts:
            ring = self.folder / f"{part.kind}.ring.gz"
            subprocess.run([_python(), "-W", "ignore", "-c", _MAKE_RING, ring, str(part.port)], check=True)
        pipeline = "catch_errors cache listing_formats s3api tempauth slo dlo proxy-server"
        filters = {f"filter:{name}": {"use": f"egg:swift#{name}"} for name in pipeline.split()[:-1] if name != "cache"}
        _write(
            self.config_file,
            {
                "DEFAULT": _common(self),
                "pipeline:main": {"pipeline": pipeline},
                "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
                "filter:cache": {"paste.filter_factory": "token_cache:filter_factory"},
                **filters,
                "filter:tempauth": {"use": "egg:swift#tempauth", f"user_{ACCOUNT}_{USER}": f"{KEY} .admin"},
                "filter:s3api": {"use": "egg:swift#s3api", "location": REGION, "s3_acl": "false"},
            },
        )

    def start(self) -> None:
        if not self._prepared:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            self._prepared = True
        for part in self._parts:
            part.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        for part in self._parts:
            part.stop()

    def kill(self) -> None:
        super().kill()
        for part in self._parts:
            part.kill()

    def ask(self) -> None:
        headers = {"X-Auth-User": f"{ACCOUNT}:{USER}", "X-Auth-Key": KEY}
        answer = requests.get(self.auth_url, headers=headers, timeout=60)
        answer.raise_for_status()
        token = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
        requests.put(f"{answer.headers['X-Storage-Url']}/started", headers=token, timeout=60).raise_for_status()


def _common(part: _Part) -> dict[str, object]:
    return {"bind_ip": "127.0.0.1", "bind_port": part.port, "swift_dir": part.folder, "workers": 0, "user": _me()}


def _python() -> Path:
    return programs.environment("swift") / "bin" / "python"


def _me() -> str:
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()


def _write(path: Path, settings: Mapping[str, Mapping[str, object]]) -> None:
    parser = RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict({section: dict(options) for section, options in settings.items()})
    with path.open("w") as file:
        parser.write(file)
