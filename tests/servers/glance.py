"""A private Glance: the real glance-api, in an environment of its own (tools/make-test-venv)."""

import shutil
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from pathlib import Path

from tests.servers import programs
from tests.servers.glance_client import GlanceClient
from tests.servers.process import Server

# Glance behind Keystone, less the filter that asks Keystone: who calls is said by the headers that filter would have
# set, so Glance's own policy is at work. The pipeline without authentication would let everybody do nothing.
_PIPELINE = "identity context rootapp"

# Stands in for Keystone and its filter: a token is a list of roles, and whoever has headers of his own needs none.
_IDENTITY = """
def make_filter(global_conf, **local_conf):
    def wrap(application):
        def answer(environ, start_response):
            roles = environ.get("HTTP_X_AUTH_TOKEN")
            known = {"admin", "member", "reader", "service"}
            if roles is not None and known.issuperset(roles.split(",")) and "HTTP_X_ROLES" not in environ:
                environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed"
                environ["HTTP_X_USER_ID"] = "user-of-the-service"
                environ["HTTP_X_PROJECT_ID"] = "project-of-the-service"
                environ["HTTP_X_ROLES"] = roles
            return application(environ, start_response)
        return answer
    return wrap
"""


class Glance(Server):
    """One glance-api, with one file store, or with one for each name in `backends`.

    `config_file` is the very glance-api.conf that it reads; the service under test takes it over unchanged.
    `settings` adds to it or overrides: section → option → value.
    """

    name = "glance"

    def __init__(
        self,
        folder: Path,
        transport_url: str,
        *,
        backends: Sequence[str] = (),
        amqp_durable_queues: bool = False,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(folder)
        self._venv = programs.environment("glance")
        self.transport_url = transport_url
        self.backends = tuple(backends)
        self.amqp_durable_queues = amqp_durable_queues
        self._settings = settings or {}

    @property
    def endpoint(self) -> str:
        """Where the image API is, without /v2."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def config_file(self) -> Path:
        return self.folder / "glance-api.conf"

    @property
    def client(self) -> GlanceClient:
        """An administrator."""
        return GlanceClient(self.endpoint)

    def access(self, roles: str = "admin,member,reader,service") -> dict[str, str]:
        """What our own [glance] section says, for a user with these roles."""
        return {"auth_type": "admin_token", "endpoint": self.endpoint, "token": roles}

    def store_folder(self, backend: str | None = None) -> Path:
        """Where a store (the default one unless named) keeps its files, each named after its image's ID."""
        if not self.backends:
            return self.folder / "images"
        return self.folder / f"images-{backend or self.backends[0]}"

    def prepare(self) -> None:
        shutil.copy(self._venv / "glance.sqlite", self.folder / "glance.sqlite")
        (self.folder / "lock").mkdir()
        for folder in [
            self.folder / "staging",
            self.folder / "tasks",
            *map(self.store_folder, self.backends or [None]),
        ]:
            folder.mkdir()
        # RawConfigParser: neither paste's `%` nor a password's means anything here.
        paste = RawConfigParser(strict=False)
        paste.optionxform = str  # type: ignore[assignment,method-assign]
        paste.read(self._venv / "etc" / "glance" / "glance-api-paste.ini")
        paste["composite:api"]["keystone"] = _PIPELINE
        paste["filter:identity"] = {"paste.filter_factory": "tests_identity:make_filter"}
        (self.folder / "tests_identity.py").write_text(_IDENTITY)
        _write(paste, self.folder / "glance-api-paste.ini")

        config = RawConfigParser(default_section="")
        config.read_dict(self._config())
        config.read_dict(self._settings)
        _write(config, self.config_file)

    def command(self) -> Sequence[str | Path]:
        return [
            self._venv / "bin" / "uwsgi",
            f"--http-socket=127.0.0.1:{self.port}",
            "--module=glance.wsgi.api:application",
            f"--virtualenv={self._venv}",
            f"--pythonpath={self.folder}",
            "--master",
            "--processes=1",
            "--threads=4",
            "--enable-threads",
            "--lazy-apps",
            "--die-on-term",
            "--need-app",
            "--buffer-size=65535",
            "--socket-timeout=120",
            "--http-chunked-input",
            "--pyargv=",
        ]

    def environment(self) -> Mapping[str, str]:
        # Children of Glance's are given no more than this to find their modules: to uwsgi, no environment is virtual.
        packages = next(self._venv.glob("lib/python*/site-packages"))
        return {"OS_GLANCE_CONFIG_DIR": str(self.folder), "PYTHONPATH": str(packages)}

    def ask(self) -> None:
        self.client.list_images()

    def _config(self) -> dict[str, dict[str, str]]:
        config = {
            "DEFAULT": {
                "transport_url": self.transport_url,
                "worker_self_reference_url": self.endpoint,
                "enabled_import_methods": "[glance-direct,web-download,copy-image]",
                "node_staging_uri": f"file://{self.folder}/staging",
            },
            "database": {"connection": f"sqlite:///{self.folder}/glance.sqlite"},
            "oslo_concurrency": {"lock_path": f"{self.folder}/lock"},
            "paste_deploy": {"flavor": "keystone", "config_file": f"{self.folder}/glance-api-paste.ini"},
            "oslo_messaging_notifications": {"driver": "messagingv2", "transport_url": self.transport_url},
            "oslo_messaging_rabbit": {"amqp_durable_queues": str(self.amqp_durable_queues).lower()},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": "[]"},
        }
        if not self.backends:
            config["glance_store"] = {
                "stores": "file,http",
                "default_store": "file",
                "filesystem_store_datadir": str(self.store_folder()),
            }
            return config
        config["DEFAULT"]["enabled_backends"] = ",".join(f"{name}:file" for name in self.backends)
        config["glance_store"] = {"default_backend": self.backends[0]}
        for name in self.backends:
            config[name] = {"filesystem_store_datadir": str(self.store_folder(name))}
        config["os_glance_staging_store"] = {"filesystem_store_datadir": str(self.folder / "staging")}
        config["os_glance_tasks_store"] = {"filesystem_store_datadir": str(self.folder / "tasks")}
        return config


def _write(parser: RawConfigParser, path: Path) -> None:
    with path.open("w") as file:
        parser.write(file)
