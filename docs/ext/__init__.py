"""What Sphinx does not bring: the API's description as a page."""
