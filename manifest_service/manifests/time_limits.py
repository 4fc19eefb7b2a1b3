"""A bound on the time that the database may take for one statement, in each database's own way.

It is set on each connection when that is made, so that it costs no round trip later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

_PROGRESS = 10_000
"""SQLite's instructions between two looks at the clock: well below a millisecond."""
_CANCELED = "57014"
"""PostgreSQL's SQLSTATE of a statement that ran out of time."""
_TIMED_OUT = 1969
"""MariaDB's error (ER_STATEMENT_TIMEOUT)."""


def limit(engine: Engine, seconds: float) -> None:
    """Bound every statement of connections that this engine makes from now on."""
    limiters: dict[str, Callable[[Engine, float], None]] = {
        "postgresql": _limit_postgresql,
        "mysql": _limit_mariadb,
        "sqlite": _limit_sqlite,
    }
    limiters[engine.dialect.name](engine, seconds)


def ran_out(error: Exception) -> bool:
    """Whether SQLAlchemy's error is of a statement that ran out of time."""
    cause = getattr(error, "orig", None)
    if cause is None:
        return False
    return getattr(cause, "sqlstate", None) == _CANCELED or cause.args[:1] in ((_TIMED_OUT,), ("interrupted",))


def _limit_postgresql(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def set_limit(connection: Any, record: Any) -> None:
        connection.execute(f"SET statement_timeout = {round(seconds * 1000)}")
        connection.commit()


def _limit_mariadb(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def set_limit(connection: Any, record: Any) -> None:
        if "MariaDB" in connection.get_server_info():  # MySQL has no such limit that holds for writing, too.
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION max_statement_time = %s", (seconds,))


def _limit_sqlite(engine: Engine, seconds: float) -> None:
    """SQLite has no such limit, but asks now and then whether it should go on."""

    @event.listens_for(engine, "connect")
    def watch(connection: Any, record: Any) -> None:
        connection.set_progress_handler(lambda: time.monotonic() > record.info.get("deadline", float("inf")), _PROGRESS)

    @event.listens_for(engine, "before_cursor_execute")
    def begin(connection: Any, *_: Any) -> None:
        connection.info["deadline"] = time.monotonic() + seconds
