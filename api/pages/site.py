"""All pages in one blueprint."""

from __future__ import annotations

from flask import Blueprint

from api.pages import fleet, images, rendering
from api.service import ApiService


def make_blueprint(service: ApiService) -> Blueprint:
    """The pages, and the style and scripts that they use."""
    blueprint = Blueprint("pages", "api", template_folder="templates", static_folder="static", static_url_path="/pages")
    rendering.set_up(blueprint, service)
    images.add_to(blueprint, service)
    fleet.add_to(blueprint, service)
    return blueprint
