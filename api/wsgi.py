"""For gunicorn and uWSGI: `api.wsgi:application`, configured by the files in MANIFEST_SERVICE_CONFIG_FILES."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask
from oslo_log import log

from api.access import GIVEN_ID
from api.app import create_app
from api.problems import RETRY_AFTER, outside_application
from manifest_service import config, logs
from manifest_service.errors import ManifestServiceError
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database, DatabaseAway

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG = log.getLogger(__name__)

FILES_VARIABLE = "MANIFEST_SERVICE_CONFIG_FILES"
"""Names the variable that holds the configuration files, separated by colons."""


_MAKING = threading.Lock()
"""First requests come in several threads at once."""


@cache
def _application() -> Flask:
    """Make the application when the first request comes: after the server has forked."""
    files = [file for file in os.environ.get(FILES_VARIABLE, "").split(":") if file]
    conf = config.load(files)
    logs.set_up(conf)
    database = Database(conf.database.connection, statement_time=conf.api.statement_time)
    schema.require_current(database)
    return create_app(conf, database)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request. The server in front decides on addresses, and [api] auth_strategy on who may ask.

    With `noauth`, requests that are not from this machine are refused, unless [api] listen_without_auth allows them.
    """
    try:
        with _MAKING:
            made = _application()
    except (ManifestServiceError, DatabaseAway) as error:
        LOG.error("the API cannot answer: %s", error)  # noqa: TRY400
        headers, body = outside_application(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            "the service cannot answer yet; its log says why",
            logs.choose_request_id(environ.get(GIVEN_ID)),
        )
        start_response("503 Service Unavailable", [*headers, ("Retry-After", RETRY_AFTER)])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
    return made(environ, start_response)
