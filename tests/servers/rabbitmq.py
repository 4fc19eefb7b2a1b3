"""A private RabbitMQ node."""

import json
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import create_connection
from typing import ClassVar
from urllib.parse import quote

import amqp

from tests.servers.process import Server, free_port
from tests.servers.programs import find

# Made when the node first boots, since making one later takes a command of its own that runs for seconds.
_VIRTUAL_HOSTS = 64


class _Epmd(Server):
    """Erlang's name server. One of our own: RabbitMQ would else register with, or leave behind, a machine-wide one."""

    name = "epmd"

    def prepare(self) -> None:
        pass

    def command(self) -> Sequence[str | Path]:
        return [find("epmd", "rabbitmq-server"), "-port", str(self.port), "-address", "127.0.0.1"]

    def ask(self) -> None:
        create_connection(("127.0.0.1", self.port), 1).close()


class RabbitMQ(Server):
    """One node with virtual hosts to give away, so that tests with equal exchange and queue names do not meet."""

    name = "rabbitmq"
    user_name: ClassVar[str] = "tests"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(8)
        # rabbitmq-server in sbin insists on the rabbitmq user; the script behind it runs as anybody.
        self._script = find("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
        self._epmd = _Epmd(folder)
        self._dist_port = free_port()
        self._virtual_hosts = [f"test-{number}" for number in range(_VIRTUAL_HOSTS)]

    def prepare(self) -> None:
        user = {"name": self.user_name, "password": self.password, "tags": "administrator"}
        virtual_hosts = ["/", *self._virtual_hosts]
        permissions = [
            {"user": self.user_name, "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}
            for name in virtual_hosts
        ]
        definitions = {
            "users": [user],
            "vhosts": [{"name": name} for name in virtual_hosts],
            "permissions": permissions,
        }
        (self.folder / "definitions.json").write_text(json.dumps(definitions))
        (self.folder / "rabbitmq.conf").write_text(f"load_definitions = {self.folder}/definitions.json\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq-env.conf").touch()
        (self.folder / "advanced.config").write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def command(self) -> Sequence[str | Path]:
        return [self._script]

    def environment(self) -> Mapping[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd.port),
            "RABBITMQ_NODENAME": "tests@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    def ask(self) -> None:
        self.connect().close()

    def start(self) -> None:
        self._epmd.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._epmd.stop()

    def kill(self) -> None:
        super().kill()
        self._epmd.kill()

    def logs(self) -> Sequence[Path]:
        return [self.log, *sorted(self.folder.glob("log/*.log"))]

    def connect(self, virtual_host: str = "/") -> amqp.Connection:
        """A plain AMQP connection, for tests that look at queues themselves."""
        connection = amqp.Connection(
            f"127.0.0.1:{self.port}", self.user_name, self.password, virtual_host=virtual_host, connect_timeout=30
        )
        connection.connect()
        return connection

    def messages(self, queue: str, virtual_host: str = "/") -> int | None:
        """How many a queue has, those among them that a listener holds; None where nobody answers now."""
        control = find("rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmqctl")
        asked = subprocess.run(
            [control, "--quiet", "list_queues", "--vhost", virtual_host, "--no-table-headers", "name", "messages"],
            env={**os.environ, **self.environment()},
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        if asked.returncode:
            return None
        return int(dict(line.split("\t") for line in asked.stdout.splitlines())[queue])

    @property
    def transport_url(self) -> str:
        """The default virtual host, as oslo.messaging names it."""
        return self.transport_url_of("/")

    def transport_url_of(self, virtual_host: str) -> str:
        """A virtual host as oslo.messaging names it."""
        return f"rabbit://{self.user_name}:{self.password}@127.0.0.1:{self.port}/{quote(virtual_host, safe='')}"

    def create_virtual_host(self) -> str:
        """A name nobody else of this test run has: exchanges and queues in it are the caller's alone."""
        if not self._virtual_hosts:
            raise LookupError(f"all {_VIRTUAL_HOSTS} virtual hosts are given away: raise _VIRTUAL_HOSTS")
        return self._virtual_hosts.pop()
