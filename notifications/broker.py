"""Whether a broker answers at all. oslo.messaging reconnects by itself and tells nobody how it stands."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import oslo_messaging
from oslo_config import cfg

PATIENCE = 2.0
"""Seconds that each host is waited for."""
_RABBIT_PORT = 5672

Address = tuple[str, int]


def addresses_of(conf: cfg.ConfigOpts) -> Sequence[Address]:
    """Where the configured brokers listen; those of other kinds than RabbitMQ only where their port is named."""
    url = oslo_messaging.TransportURL.parse(conf, conf.oslo_messaging_notifications.transport_url)
    default = _RABBIT_PORT if url.transport == "rabbit" else None
    found = [(host.hostname, host.port or default) for host in url.hosts]
    return [(name.strip("[]"), int(port)) for name, port in found if name and port]


def answers(addresses: Sequence[Address]) -> bool:
    """Whether one of them takes a connection, or there is none to ask.

    Nothing is said on it: RabbitMQ takes that for a load balancer's look, and logs nothing.
    """
    for address in addresses:
        try:
            with socket.create_connection(address, PATIENCE):
                return True
        except OSError:
            continue
    return not addresses
