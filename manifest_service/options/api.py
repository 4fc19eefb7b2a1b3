"""Options of [api]: where it listens, who may ask, and what one process answers."""

from __future__ import annotations

from oslo_config import cfg

API_OPTS = [
    cfg.StrOpt("listen", default="127.0.0.1:9494", help="HOST:PORT. Port 0 takes a free one and says which."),
    cfg.StrOpt(
        "auth_strategy",
        default="noauth",
        choices=[
            ("noauth", "by nobody: everybody on this machine may do everything"),
            ("keystone", "by Keystone, as [keystone_authtoken] says; [oslo_policy] says who may do what"),
        ],
        help="How callers are authenticated.",
    ),
    cfg.BoolOpt(
        "listen_without_auth",
        default=False,
        help="Allow `noauth` on an address that is not loopback. Everybody who reaches it can read every manifest and"
        " ask for computations.",
    ),
    cfg.IntOpt("threads", default=8, min=1, max=256, help="Requests that one API process answers at a time."),
    cfg.IntOpt(
        "max_body",
        default=262144,
        min=1024,
        max=67108864,
        help="Bytes of a request's body. The default holds a lookup of 1,000 digests with room to spare.",
    ),
    cfg.IntOpt("page_limit", default=1000, min=1, max=10000, help="Manifests on one page, and keys in one lookup."),
    cfg.IntOpt(
        "backlog",
        default=64,
        min=0,
        max=1024,
        help="Requests that may wait in one API process while others are answered. More are told 503 `overloaded` and"
        " Retry-After at once, and so is one that has waited for 10 seconds. /healthcheck and /metrics do not wait"
        " behind them.",
    ),
    cfg.IntOpt(
        "connections",
        default=500,
        min=1,
        max=10000,
        help="Connections that one API process keeps open. When all are taken, the one that has been silent longest"
        " makes room for a new one.",
    ),
    cfg.FloatOpt(
        "statement_time",
        default=20.0,
        min=0.1,
        max=600.0,
        help="Seconds that the database may take for one statement of a request; then the caller is told 503"
        " `too-slow`. Nodes wait for 30 seconds.",
    ),
]
