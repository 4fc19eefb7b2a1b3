"""Where a process without an API serves its figures."""

import socket
from contextlib import suppress

import pytest
import requests

from manifest_service.commands.metrics_server import ServedMetrics
from manifest_service.commands.running import running
from manifest_service.errors import UsageError
from tests.servers.process import free_port

OPTION = "[worker] metrics_listen"


def first_of_two_free_ports() -> int:
    while True:
        port = free_port()
        with socket.socket() as other, suppress(OSError):
            other.bind(("127.0.0.1", port + 1))
            return port


@pytest.mark.slow
def test_each_process_of_a_command_has_a_port_of_its_own() -> None:
    port = first_of_two_free_ports()
    listen = f"127.0.0.1:{port}"

    with running([ServedMetrics(listen, OPTION, process, 2) for process in range(2)]):
        answers = [requests.get(f"http://127.0.0.1:{port + process}/metrics", timeout=60) for process in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]


def test_ports_that_there_are_not_are_told_before_anything_starts() -> None:
    ServedMetrics("127.0.0.1:65534", OPTION, 0, 2)

    with pytest.raises(UsageError, match="metrics_listen") as caught:
        ServedMetrics("127.0.0.1:65535", OPTION, 0, 2)

    assert caught.value.code == "bad-configuration"
