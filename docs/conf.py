"""Sphinx's configuration: the pages of this folder as a site. `make docs` builds it, with warnings as errors."""

import logging
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
# The commands are imported for their options; what their libraries say of themselves is of no interest here.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
logging.getLogger("oslo_service").setLevel(logging.WARNING)

from manifest_service import __version__  # noqa: E402  # It lies beside this folder.

project = "manifest-service"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "../api/static/icon.svg"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

extensions = ["myst_parser", "sphinx_click", "docs.ext.from_code"]
exclude_patterns = ["_build", "ext"]
# Help texts put code between single backticks.
default_role = "code"
# `--option` is to stay so.
smartquotes = False
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
