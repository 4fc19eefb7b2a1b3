"""The core: from an image file's bytes to a manifest that can be served. It knows neither front door."""

__version__ = "0.1.0"
