"""Options of what is done now and then, by one process for all; a part of `config`."""

from __future__ import annotations

from oslo_config import cfg

RECONCILE_OPTS = [
    cfg.FloatOpt(
        "interval",
        default=3600.0,
        min=0.0,
        max=7 * 86400.0,
        help="Seconds from the end of one reconciliation with Glance to the next, which one of all worker processes"
        " does; 0 for never. It finds uploads and deletions of which no notification came, and needs [glance]. Where"
        " Glance sends no notifications at all, this is how long an image waits to be noticed.",
    ),
    cfg.FloatOpt(
        "rate",
        default=200.0,
        min=0.0,
        help="Images a second that are asked of Glance at most; 0 for no limit.",
    ),
    cfg.FloatOpt(
        "largest_loss",
        default=50.0,
        min=0.0,
        max=100.0,
        help="Percent of the known images that may be gone from Glance's list at once. Beyond it, none is marked as"
        " deleted: another Glance may have been asked, or one whose database was lost."
        " `manifest-service reconcile --any-loss` marks them once.",
    ),
    cfg.BoolOpt(
        "members",
        help="Whether Glance is also asked, image by image, with which projects each shared image is shared; so is"
        " `backfill`. It finds what no notification told, and needs the role `admin`. Unset means that it is done where"
        " [api] auth_strategy is keystone: nobody else needs to know.",
    ),
]

SCRUB_OPTS = [
    cfg.IntOpt(
        "bytes_per_day",
        default=20 << 30,
        min=0,
        help="Bytes of images' sources that all worker processes together read again on one day (UTC), to find those"
        " that changed in the store or in Glance's record; 0 for none. Those come first that were read longest ago.",
    ),
    cfg.FloatOpt(
        "interval",
        default=7 * 86400.0,
        min=1.0,
        help="Seconds after which a source is read again, at the earliest.",
    ),
    cfg.FloatOpt(
        "rate",
        default=float(32 << 20),
        min=0.0,
        help="Bytes a second that are read again at most; 0 for no limit. They are read at idle priority besides.",
    ),
]
