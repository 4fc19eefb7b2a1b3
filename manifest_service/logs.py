"""Log lines: which request each belongs to, and that nobody outside can write one.

oslo.log prints the request id of the context that oslo.context keeps for each thread. Here threads enter and leave one.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters, log

from manifest_service.config import PROJECT
from manifest_service.shown import visible

_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def choose_request_id(*given: object) -> str:
    """The first of what was given that has OpenStack's form of a request id; a new one where none has."""
    for each in given:
        if isinstance(each, str) and _REQUEST_ID.fullmatch(each):
            return each
    return f"req-{uuid.uuid4()}"


@contextmanager
def within_request(*given: object) -> Iterator[str]:
    """Have what this thread logs carry a request id, as `choose_request_id` has it. Gives it."""
    previous = context.get_current()
    entered = context.RequestContext(request_id=choose_request_id(*given))
    try:
        yield str(entered.request_id)
    finally:
        # oslo.context has no call that takes a context away again.
        context._request_store.context = previous


def current_request_id() -> str | None:
    """The request id that this thread logs with, if any."""
    current = context.get_current()
    return None if current is None else current.request_id


def set_up(conf: cfg.ConfigOpts) -> None:
    """Log as the configuration says, and keep each message on its line."""
    log.setup(conf, PROJECT)
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(_SafeFormatter(handler.formatter))


class _SafeFormatter(logging.Formatter):
    """Another formatter's text, in which names and sentences of others begin no line and move no cursor."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; a traceback stays on the lines behind it, each with oslo.log's own beginning."""
        safe = copy(record)
        safe.msg, safe.args = visible(record.getMessage()), ()
        if record.exc_info is None or not isinstance(self._inner, formatters.ContextFormatter):
            text = self._inner.format(safe)
            return visible(text, keep="\n") if isinstance(text, str) else text  # Fluentd's is no text.
        # Apart: oslo.log ends the first line with the exception's words, which may have lines of their own.
        safe.exc_info = safe.exc_text = None
        line = visible(self._inner.format(safe))
        trace = self._inner.formatException(record.exc_info, record=safe)
        return line + "\n" + visible(trace, keep="\n")
