"""The listener: a consumer of Glance's notification topics, with a queue of our own."""

from __future__ import annotations

import threading
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log
from oslo_messaging import opts as messaging_options
from oslo_messaging._drivers import amqp as rabbit_messages

from manifest_service.config import is_configured
from manifest_service.errors import UsageError
from manifest_service.manifests.database import Database
from notifications.broker import addresses_of, answers
from notifications.endpoint import ImageEndpoint

LOG = log.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a start waits for the broker."""

EMBEDDED_TRANSPORT = "fake://"
"""oslo.messaging's transport between the threads of one process."""


# Of the last messages, oslo.messaging drops those that come again because their acknowledgement was lost, and does not
# acknowledge them: they would stay at this listener, within its prefetch, for RabbitMQ's consumer_timeout of half an
# hour. To us a repeat is nothing new and ends as any other message does. There is no option for it.
rabbit_messages._MsgIdCache.DUP_MSG_CHECK_SIZE = 0


class Listener:
    """Listens in threads of its own from `start` to `stop`."""

    def __init__(self, conf: cfg.ConfigOpts, database: Database, transport: Any | None = None) -> None:
        """Prepare to listen as [listener] says. transport: one that is open already; else the configured one is opened.

        Raises UsageError where the transport is not configured.
        """
        self._endpoint = ImageEndpoint(database, conf.listener.requeue_delay)
        self._transport = open_transport(conf) if transport is None else transport
        self._owns_transport = transport is None
        targets = [
            oslo_messaging.Target(topic=topic, exchange=conf.listener.exchange) for topic in conf.listener.topics
        ]
        self._server = oslo_messaging.get_notification_listener(
            self._transport,
            targets,
            [self._endpoint],
            executor="threading",
            allow_requeue=True,
            pool=conf.listener.pool or None,
        )
        self._topics = ", ".join(conf.listener.topics)
        self._listening = threading.Event()
        self._addresses = addresses_of(conf) if is_transport_configured(conf) else []

    def start(self) -> None:
        """Begin to listen. A broker that does not answer soon is waited for while others go on."""
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        if not self._listening.wait(PATIENCE):
            LOG.warning("the broker does not answer yet; it is asked again and again")

    def look(self) -> dict[str, object]:
        """How it is: whether it listens, and whether a broker answers at its port."""
        return {"listening": self._listening.is_set(), "broker": "ok" if answers(self._addresses) else "away"}

    def stop(self) -> None:
        """Take no more messages, finish those under way, and close."""
        self._endpoint.stop()
        if not self._listening.is_set():
            LOG.warning("the broker has never answered")  # Who waits for it cannot be told to stop; the process ends.
            return
        self._server.stop()
        self._server.wait()
        if self._owns_transport:
            self._transport.cleanup()

    def _listen(self) -> None:
        self._server.start()
        self._listening.set()
        LOG.info("listening for notifications on %s", self._topics)


def open_transport(conf: cfg.ConfigOpts, url: str | None = None) -> Any:
    """Open the notification transport.

    url: None takes [oslo_messaging_notifications] transport_url, else [DEFAULT] transport_url. Raises UsageError where
    neither is configured (oslo.messaging would try a RabbitMQ on this host), or where it is no URL.
    """
    if url is None and not is_transport_configured(conf):
        raise UsageError(
            "bad-configuration",
            "no broker is configured: set [DEFAULT] transport_url, the one of glance-api.conf for instance",
        )
    _register_options(conf)
    # Read by the driver when it is made: where our demo's own Glance publishes.
    conf.set_default("control_exchange", conf.listener.exchange)
    conf.set_default("rabbit_qos_prefetch_count", conf.listener.prefetch, group="oslo_messaging_rabbit")
    try:
        return oslo_messaging.get_notification_transport(conf, url=url)
    except (oslo_messaging.InvalidTransportURL, oslo_messaging.DriverLoadFailure) as error:
        raise UsageError("bad-configuration", f"[DEFAULT] transport_url cannot be used: {error}") from error
    except ValueError as error:
        # Its own words may quote a password that was not escaped.
        raise UsageError(
            "bad-configuration",
            "[DEFAULT] transport_url is no URL that can be read: is the port a number, and is the password escaped?",
        ) from error
    except ImportError as error:
        raise UsageError(
            "not-installed", f"[DEFAULT] transport_url needs {error.name}, which is not installed here"
        ) from error


def is_transport_configured(conf: cfg.ConfigOpts) -> bool:
    """Whether anybody named a broker."""
    _register_options(conf)
    return is_configured(conf, "oslo_messaging_notifications", "transport_url") or is_configured(
        conf, "DEFAULT", "transport_url"
    )


def _register_options(conf: cfg.ConfigOpts) -> None:
    """Have oslo.messaging's options readable before its first transport registers them."""
    for group, options in messaging_options.list_opts():
        conf.register_opts(options, group=group)
