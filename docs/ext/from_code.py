"""Fills in what pages take from the code, whenever the site is built: a page says where by `<!-- from the code -->`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from tempfile import NamedTemporaryFile
from typing import Any

from sphinx.application import Sphinx

from api.app import create_app
from docs.ext import openapi, options
from manifest_service import config
from manifest_service.manifests.database import Database

PLACE = "<!-- from the code -->"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def calls() -> str:
    """All calls of the API."""
    return openapi.render(describe_api())


def configuration() -> str:
    """All options, and those of [glance] that keystoneauth1 has."""
    return options.render(config.list_options())


def describe_api() -> dict[str, Any]:
    """What `GET /v1/openapi.json` answers, without a server or a configuration."""
    with NamedTemporaryFile() as empty:
        conf = config.load([empty.name])
    with closing(Database("sqlite://")) as database:
        document: dict[str, Any] = create_app(conf, database).test_client().get("/v1/openapi.json").get_json()
    return document


_PAGES: Mapping[str, Callable[[], str]] = {"calls": calls, "configuration": configuration}


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname in _PAGES:
        source[0] = source[0].replace(PLACE, _PAGES[docname]())
