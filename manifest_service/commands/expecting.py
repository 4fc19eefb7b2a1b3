"""What there should be of the service, as its configuration says."""

from __future__ import annotations

from oslo_config import cfg

from manifest_service.processing import reconcile
from manifest_service.processing.diagnosis import Expectations
from notifications.listener import is_transport_configured


def expectations(conf: cfg.ConfigOpts) -> Expectations:
    """A broker means listeners, an interval means a duty."""
    intervals = {reconcile.NAME: conf.reconcile.interval} if conf.reconcile.interval > 0 else {}
    return Expectations(listeners=is_transport_configured(conf), intervals=intervals)
