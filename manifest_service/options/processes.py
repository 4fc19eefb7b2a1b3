"""Options of how many processes run, and how they end; a part of `config`."""

from __future__ import annotations

from oslo_config import cfg

MOST_PROCESSES = 256
"""Of one command on one host: far more than hosts have cores to feed."""

SHUTDOWN_OPTS = [
    cfg.IntOpt(
        "graceful_shutdown_timeout",
        default=60,
        min=0,
        max=86400,
        help="Seconds that a worker which is asked to end, or to reload, gives the images under way to come to their"
        " end. What is not done by then goes back, and another worker takes it at once.",
    ),
]

LISTENER_PROCESSES_OPTS = [
    cfg.IntOpt(
        "processes",
        default=1,
        min=1,
        max=MOST_PROCESSES,
        help="Processes of one `listener` command, under one that starts them anew when they die.",
    ),
]

WORKER_PROCESSES_OPTS = [
    cfg.IntOpt(
        "processes",
        default=1,
        min=1,
        max=MOST_PROCESSES,
        help="Processes of one `worker` command, under one that starts them anew when they die. Each computes"
        " `concurrency` images at a time.",
    ),
]
