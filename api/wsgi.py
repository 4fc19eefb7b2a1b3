"""For gunicorn and uWSGI: `api.wsgi:application`, configured by the files in MANIFEST_SERVICE_CONFIG_FILES."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from flask import Flask
from oslo_log import log

from api.app import create_app
from manifest_service import config
from manifest_service.manifests import schema
from manifest_service.manifests.database import Database

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FILES_VARIABLE = "MANIFEST_SERVICE_CONFIG_FILES"
"""Names the variable that holds the configuration files, separated by colons."""


@cache
def _application() -> Flask:
    """Make the application when the first request comes: after the server has forked."""
    files = [file for file in os.environ.get(FILES_VARIABLE, "").split(":") if file]
    conf = config.load(files)
    log.setup(conf, config.PROJECT)
    database = Database(conf.database.connection)
    schema.require_current(database)
    return create_app(conf, database)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request. The server in front decides on addresses and authentication."""
    return _application()(environ, start_response)
