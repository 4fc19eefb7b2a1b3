"""Options that say how an image's bytes are found, and what a store may take; a part of `config`."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg, types

GLANCE_OPTS = [
    cfg.ListOpt(
        "resolve",
        default=["convention", "locations", "direct_url", "download"],
        item_type=types.String(choices=["convention", "locations", "direct_url", "download"]),
        help="How an image's bytes are found, in this order, until one way has them. convention: where the file and rbd"
        " drivers put an image of this id, asking nobody. locations: Glance's locations API, which needs the role"
        " `service` or `admin`. direct_url: what an image's record tells, where Glance shows it. download: through"
        " Glance itself. All but the first need an `auth_type`.",
    ),
]

STORE_LIMITS_OPTS = [
    cfg.IntOpt(
        "scratch_reserve",
        default=1 << 30,
        min=0,
        help="Bytes of the file system of scratch_path that a spooled source leaves free, for conversions and others.",
    ),
    cfg.IntOpt(
        "stream_window",
        default=32 << 20,
        min=1 << 20,
        max=1 << 30,
        help="Bytes of memory that keep what has passed of a store that can only be read forward. An image whose tables"
        " lie further back is spooled to scratch_path.",
    ),
    cfg.FloatOpt(
        "store_silence",
        default=60.0,
        min=0.1,
        max=3600.0,
        help="Seconds without a byte from a store, or from Glance, after which it is asked again.",
    ),
    cfg.FloatOpt(
        "store_pause",
        default=0.5,
        min=0.0,
        max=60.0,
        help="Seconds before a store that broke off is asked again; doubled for each further time without a new byte,"
        " 30 at most. After five such times the attempt counts as failed, and the image is due again later.",
    ),
]


def list_keystone_options() -> list[Any]:
    """What keystoneauth1 adds to [glance], for oslo-config-generator."""
    from keystoneauth1 import loading  # noqa: PLC0415  # Who only reads a configuration needs none of it.

    return [
        *loading.get_auth_common_conf_options(),
        *loading.get_auth_plugin_conf_options("password"),
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(),
    ]
