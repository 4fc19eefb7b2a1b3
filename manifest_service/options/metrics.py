"""Where a process without an API serves its figures; a part of `config`."""

from __future__ import annotations

from oslo_config import cfg

METRICS_LISTEN_OPT = cfg.StrOpt(
    "metrics_listen",
    sample_default="127.0.0.1:9495",
    help="HOST:PORT where this process serves its own figures to Prometheus, to everybody who reaches it. Of several"
    " processes of one command, each takes one port more than the one before. Unset means nowhere. `serve` does not"
    " need it: its API has them all.",
)
