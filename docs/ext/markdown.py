"""Texts of the code as Markdown."""

from __future__ import annotations


def prose(text: str) -> str:
    """A help text or a description, in one line; nothing but code between backticks keeps a meaning of its own."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", r"\*") for part in parts[::2]]
    return "`".join(parts)


def cell(text: str) -> str:
    """The same for a table's cell."""
    return prose(text).replace("|", r"\|")
